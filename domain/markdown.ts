/** Escapes text for the Temporal Web UI, which renders Markdown, so that it appears as it was written. */

const WORD = String.raw`(?!(?:and|then|or|if|once|on|only|to)\b)[\w@]+(?:[./:+-]\w+)*`;
const OPTION = String.raw`--[a-z][\w-]*`;
/** Matches a command up to where the sentence around it continues. */
const TYPED = new RegExp(String.raw`\bfarshore(?: (?:${OPTION}|${WORD}))+|(?<![\w-])${OPTION}`, 'g');

/** Formats commands as code, because the Web UI would turn two hyphens into a dash. */
export const inMarkdown = (text: string): string =>
  text
    .split(/(`[^`]*`)/)
    .map((part, index) => (index % 2 === 1 ? part : escaped(part).replaceAll(TYPED, '`$&`')))
    .join('');

const escaped = (text: string): string => text.replaceAll(/[*_<\\[]/g, String.raw`\$&`);
