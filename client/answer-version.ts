/**
 * Version of the `--json` output. It rises when a field changes its meaning or is removed, not when fields or answers
 * are added.
 */
export const ANSWER_VERSION = 1;
