/** Of what `--json` prints. Raised when a field changes its meaning, or goes; not for further fields or further answers. */
export const ANSWER_VERSION = 1;
