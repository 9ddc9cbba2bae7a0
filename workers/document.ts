/**
 * Reads a YAML document against a schema. What is wrong is told once, with file, line, path, value and remedy, so that
 * the reader can go there and mend it.
 */
import { LineCounter, isNode, parseDocument, type Document } from 'yaml';
import type { z } from 'zod';
import type { Finding } from '../domain/site.js';

/** A document that cannot be used. The message is complete and meant for people. */
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

/** A parsed document that can still say where in the file a value stands. */
export interface ParsedDocument<T> {
  readonly value: T;
  /** Makes the error for a finding of a later check. */
  readonly error: (finding: Finding) => DocumentError;
}

/** @throws DocumentError for YAML syntax, shape, and the first finding of `check`. */
export function readDocument<S extends z.ZodType>(
  text: string,
  file: string,
  schema: S,
  check: (value: z.infer<S>) => Finding[] = () => [],
): ParsedDocument<z.infer<S>> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const lineOf = (path: readonly (string | number)[]) => lineAt(document, lines, path);
  const syntax = document.errors[0];
  if (syntax) {
    const line = lines.linePos(syntax.pos[0]).line;
    throw new DocumentError(file, line, '(syntax)', syntax.message, undefined, 'correct the YAML syntax on this line');
  }
  const raw: unknown = document.toJS();
  const error = (finding: Finding) =>
    new DocumentError(file, lineOf(finding.path), formatPath(finding.path), finding.message, valueAt(raw, finding.path), finding.remedy);
  const result = schema.safeParse(raw);
  if (!result.success) throw error(shapeFinding(deepest(result.error.issues[0]!)));
  const finding = check(result.data)[0];
  if (finding) throw error(finding);
  return { value: result.data, error };
}

type Issue = z.core.$ZodIssue;

/** Of a union's failed branches, the one that got furthest tells what was meant. */
function deepest(issue: Issue): Issue {
  if (issue.code !== 'invalid_union') return issue;
  const inner = issue.errors.flat().map((child) => ({ ...child, path: [...issue.path, ...child.path] }) as Issue);
  return inner.sort((a, b) => b.path.length - a.path.length)[0] ?? issue;
}

function shapeFinding(issue: Issue): Finding {
  const path = issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part));
  if (issue.code === 'unrecognized_keys') {
    return {
      path: [...path, issue.keys[0]!],
      message: 'unknown field',
      remedy: 'remove it, or correct its spelling; the example site file lists every field',
    };
  }
  if (issue.code === 'invalid_type' && issue.input === undefined) {
    return { path, message: `this field is required (${issue.expected})`, remedy: 'add the field' };
  }
  return { path, message: issue.message, remedy: 'correct the value' };
}

const formatPath = (path: readonly (string | number)[]): string =>
  path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i > 0 ? `.${part}` : part)).join('') || '(document)';

function valueAt(raw: unknown, path: readonly (string | number)[]): string | undefined {
  let value: unknown = raw;
  for (const part of path) {
    if (value === null || typeof value !== 'object') return undefined;
    value = (value as Record<string | number, unknown>)[part];
  }
  if (value === undefined) return undefined;
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** The line of the value itself, or of the nearest thing around it that is there. */
function lineAt(document: Document.Parsed, lines: LineCounter, path: readonly (string | number)[]): number {
  for (let depth = path.length; depth >= 0; depth -= 1) {
    const node = depth === 0 ? document.contents : document.getIn(path.slice(0, depth), true);
    if (isNode(node) && node.range) return lines.linePos(node.range[0]).line;
  }
  return 1;
}
