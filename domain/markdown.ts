/** Text of others in what the Temporal Web UI renders as Markdown: shown as it was written. */

const WORD = String.raw`(?!(?:and|then|or|if|once|on|only|to)\b)[\w@]+(?:[./:+-]\w+)*`;
const OPTION = String.raw`--[a-z][\w-]*`;
/** A command ends where the sentence around it goes on. */
const TYPED = new RegExp(String.raw`\bfarshore(?: (?:${OPTION}|${WORD}))+|(?<![\w-])${OPTION}`, 'g');

/** What is to be typed stands as code: of two hyphens the page would make a dash, which no command takes. */
export const inMarkdown = (text: string): string =>
  text
    .split(/(`[^`]*`)/)
    .map((part, index) => (index % 2 === 1 ? part : escaped(part).replaceAll(TYPED, '`$&`')))
    .join('');

const escaped = (text: string): string => text.replaceAll(/[*_<\\[]/g, String.raw`\$&`);
