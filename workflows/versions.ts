/**
 * The changes of behaviour that runs already begun do not take part in, one `patched` name each, as constants, numbered in the
 * order they come. A run that began before such a change goes on as it did: its history has no marker of that name. Names are
 * never changed nor used twice. There is none yet: the histories in `test/replay` were recorded by this behaviour.
 */
export {};
