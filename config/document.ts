/**
 * Reads a YAML document and checks it against a schema. The first error is reported with file, line, path, value and
 * remedy.
 */
import { LineCounter, isMap, isNode, isScalar, parseDocument, type Document } from 'yaml';
import type { z } from 'zod';
import type { Finding } from '../domain/site.js';
import { contentProblem } from './yaml-content.js';

/** A document that cannot be used. The message is complete and written for people. */
export class DocumentError extends Error {
  override readonly name = 'DocumentError';
  constructor(
    readonly file: string,
    readonly line: number,
    readonly path: string,
    readonly problem: string,
    readonly value: string | undefined,
    readonly remedy: string,
  ) {
    const shown = value === undefined ? '' : ` (value: ${value})`;
    super(`${file}:${line}: ${path}: ${problem}${shown}\n  Remedy: ${remedy}`);
  }
}

/** A parsed document that still knows where in the file each value is. */
export interface ParsedDocument<T> {
  readonly value: T;
  /** Creates the error for a finding of a later check. */
  readonly error: (finding: Finding) => DocumentError;
}

/** Longer than any field name: such a name is probably a value in the wrong place. */
const HIDDEN_FROM = 33;

/**
 * @param options.secret messages show nothing of the content except names of fields.
 * @throws DocumentError for YAML syntax, shape, or the first finding of `check`.
 */
export function readDocument<S extends z.ZodType>(
  text: string,
  file: string,
  schema: S,
  check: (value: z.infer<S>) => Finding[] = () => [],
  { secret = false }: { readonly secret?: boolean } = {},
): ParsedDocument<z.infer<S>> {
  const lines = new LineCounter();
  const document = parsed(text, file, lines);
  const lineOf = (path: readonly (string | number)[]) => lineAt(document, lines, path);
  const syntax = document.errors[0];
  if (syntax) {
    const line = lines.linePos(syntax.pos[0]).line;
    if (syntax.code === 'MULTIPLE_DOCS') {
      const remedy = 'keep one document per file: a line of --- begins another one';
      throw new DocumentError(file, line, '(syntax)', 'a second YAML document begins here', undefined, remedy);
    }
    const problem = secret ? `invalid YAML (${syntax.code})` : syntax.message;
    throw new DocumentError(file, line, '(syntax)', problem, undefined, 'correct the YAML syntax on this line');
  }
  const wrong = contentProblem(document);
  if (wrong) {
    const problem = secret ? 'its fields, anchors or aliases are invalid' : wrong.problem;
    throw new DocumentError(file, lines.linePos(wrong.offset).line, '(syntax)', problem, undefined, wrong.remedy);
  }
  const raw = contentOf(document, file, secret);
  const error = (finding: Finding) =>
    new DocumentError(
      file,
      lineOf(finding.path),
      formatPath(secret ? finding.path.map(shortOrHidden) : finding.path),
      finding.message,
      secret ? undefined : shownValue(valueAt(raw, finding.path)),
      finding.remedy,
    );
  const result = schema.safeParse(raw);
  if (!result.success) throw error(shapeFinding(mostTelling(result.error.issues, raw), raw));
  const finding = check(result.data)[0];
  if (finding) throw error(finding);
  return { value: result.data, error };
}

/** `contentProblem` compares names and counts aliases, because the library takes minutes for many of them. */
function parsed(text: string, file: string, lineCounter: LineCounter): Document.Parsed {
  try {
    return parseDocument(text, { lineCounter, prettyErrors: false, uniqueKeys: false, merge: true });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new DocumentError(
      file,
      1,
      '(syntax)',
      'the document is nested too deeply',
      undefined,
      'nest its fields less deeply',
    );
  }
}

/** A merge of something other than a map is detected only here. */
function contentOf(document: Document.Parsed, file: string, secret: boolean): unknown {
  try {
    return document.toJS({ maxAliasCount: -1 });
  } catch (error) {
    const message = secret ? 'a merge key does not refer to a mapping' : (error as Error).message;
    throw new DocumentError(file, 1, '(syntax)', message, undefined, 'correct the anchors and aliases of the file');
  }
}

type Issue = z.core.$ZodIssue;

/**
 * The first issue. If one field is missing and another is unknown, the unknown one: it is probably the missing one,
 * misspelled.
 */
function mostTelling(issues: readonly Issue[], raw: unknown): Issue {
  const first = deepest(issues[0]!);
  const around = first.path.slice(0, -1).join('/');
  const misspelt = issues.find(({ code, path }) => code === 'unrecognized_keys' && path.join('/') === around);
  return misspelt && valueAt(raw, first.path) === undefined ? misspelt : first;
}

/** Among a union's failed branches, the one that matched furthest shows what was intended. */
function deepest(issue: Issue): Issue {
  if (issue.code !== 'invalid_union') return issue;
  const inner = issue.errors.flat();
  const choice = oneOf(inner.filter(({ path }) => path.length === 0));
  const furthest = inner.filter(({ path }) => path.length > 0).sort((a, b) => b.path.length - a.path.length)[0];
  const found = furthest ?? choice;
  return found ? deepest({ ...found, path: [...issue.path, ...found.path] } as Issue) : issue;
}

/** If each branch expects a single value, the error lists these values. */
function oneOf(issues: readonly Issue[]): Issue | undefined {
  const first = issues[0];
  const values = issues.flatMap((issue) => (issue.code === 'invalid_value' ? issue.values : []));
  return first?.code === 'invalid_value' ? { ...first, values } : first;
}

function shapeFinding(issue: Issue, raw: unknown): Finding {
  const path = issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part));
  if (issue.code === 'unrecognized_keys') {
    return {
      path: [...path, issue.keys[0]!],
      message: 'unknown field',
      remedy: 'remove the field, or correct its spelling; the example files explain every field',
    };
  }
  const wanted = wantedOf(issue);
  if (wanted === undefined) return { path, message: issue.message, remedy: 'correct the value' };
  const value = valueAt(raw, path);
  if (value === undefined)
    return { path, message: `this field is required; expected ${wanted}`, remedy: 'add the field' };
  if (value === null)
    return { path, message: `this field is empty; expected ${wanted}`, remedy: 'give it a value, or remove it' };
  return { path, message: `expected ${wanted}`, remedy: 'correct the value' };
}

const typeNames: Readonly<Record<string, string>> = {
  array: 'a list',
  object: 'nested fields',
  string: 'text',
  int: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
};

/** The expected value; undefined if the issue's own message names it. */
function wantedOf(issue: Issue): string | undefined {
  if (issue.code === 'invalid_type') return typeNames[issue.expected] ?? issue.expected;
  if (issue.code === 'invalid_union' && 'options' in issue && issue.options)
    return `one of: ${issue.options.map(String).join(', ')}`;
  if (issue.code === 'too_small' && isOfNumbers(issue)) return `a number of at least ${issue.minimum}`;
  if (issue.code === 'too_big' && isOfNumbers(issue)) return `a number of at most ${issue.maximum}`;
  if (issue.code !== 'invalid_value') return undefined;
  return issue.values.length === 1 ? String(issue.values[0]) : `one of: ${issue.values.map(String).join(', ')}`;
}

const isOfNumbers = ({ origin, inclusive }: { origin: string; inclusive?: boolean | undefined }): boolean =>
  (origin === 'number' || origin === 'int') && inclusive !== false;

const shortOrHidden = (part: string | number): string | number =>
  typeof part === 'string' && part.length >= HIDDEN_FROM ? '(hidden)' : part;

const formatPath = (path: readonly (string | number)[]): string =>
  path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i > 0 ? `.${part}` : part)).join('') || '(document)';

function valueAt(raw: unknown, path: readonly PropertyKey[]): unknown {
  let value: unknown = raw;
  for (const part of path) {
    if (value === null || typeof value !== 'object') return undefined;
    value = (value as Record<PropertyKey, unknown>)[part];
  }
  return value;
}

function shownValue(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  // Messages end up in logs, so credentials are removed.
  const text = JSON.stringify(value)
    ?.replace(/\bsig=[^&"]*/g, 'sig=…')
    .replace(/\/\/[^/"]*@/g, '//…@');
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** The line of the field or list entry, or of the nearest enclosing element that exists. */
function lineAt(document: Document.Parsed, lines: LineCounter, path: readonly (string | number)[]): number {
  for (let depth = path.length; depth >= 0; depth -= 1) {
    const node =
      keyAt(document, path.slice(0, depth)) ??
      (depth === 0 ? document.contents : document.getIn(path.slice(0, depth), true));
    if (isNode(node) && node.range) return lines.linePos(node.range[0]).line;
  }
  return 1;
}

/** The key of a field, because its value may begin on a later line. */
function keyAt(document: Document.Parsed, path: readonly (string | number)[]): unknown {
  if (path.length === 0) return undefined;
  const parent = path.length === 1 ? document.contents : document.getIn(path.slice(0, -1), true);
  if (!isMap(parent)) return undefined;
  return parent.items.find(({ key }) => isScalar(key) && key.value === path.at(-1))?.key;
}
