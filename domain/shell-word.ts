/** Values in commands that operators copy from Farshore's output. */

/** A value as a single word of a shell, quoted if needed. */
export const shellWord = (text: string): string =>
  /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
