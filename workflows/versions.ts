/**
 * Changes of behavior in which running workflows do not take part, one `patched` name each, as numbered constants in
 * chronological order. A run that began before such a change keeps its behavior, because its history has no marker with
 * that name. Names are never changed or reused. There are none yet: the histories in `test/replay` were recorded with
 * the current behavior.
 */
export {};
