/** Renders a snapshot as lines of text. Pure, so that it can be tested without a terminal. */
import { counted } from '../../domain/counted.js';
import { formatBytes } from '../../domain/bytes.js';
import type { Health } from '../../domain/health.js';
import { formatSeconds, secondsBetween, toMs } from '../../domain/time.js';
import type { Attention } from '../../domain/attention.js';
import { runsAtText, severity, type Board, type JobRow, type VmRow } from '../../domain/board.js';

/** A board, and how current it is. */
export interface Snapshot extends Board {
  /** Why this state is older than `at`. */
  readonly stale?: { readonly message: string; readonly heardAt?: string };
}

export interface Format {
  /** Characters per line. Entries that need attention wrap; everything else is cut off. */
  readonly columns: number;
  /** Number of available lines; if absent, everything is shown. */
  readonly rows?: number;
  readonly colour: boolean;
}

type Style = Health | 'dim' | 'bold';
interface Cell {
  readonly text: string;
  readonly style?: Style;
}
type Line = readonly Cell[];

interface Section {
  readonly head: Line;
  /** The lines of a block are shown all or not at all, except those of the first block. */
  readonly blocks: readonly (readonly Line[])[];
}

/** SGR codes that switch a style on and off. */
const styles: Record<Style, readonly [on: number, off: number]> = {
  Critical: [31, 39],
  Warning: [33, 39],
  Normal: [32, 39],
  dim: [2, 22],
  bold: [1, 22],
};
const GAP = '  ';
const BAR_WIDTH = 10;
/** Characters; on a narrower terminal, text is cut off instead of wrapped. */
const LEAST_WIDTH = 20;

/** @returns lines without line ends, none longer than `columns`. */
export function renderSnapshot(snapshot: Snapshot, { columns, rows, colour }: Format): string[] {
  const sections = [
    vmSection(snapshot, rows !== undefined),
    ...(snapshot.jobs.length > 0 ? [jobSection(snapshot)] : []),
    ...(snapshot.attention.length > 0 ? [attentionSection(snapshot, columns)] : []),
  ];
  const top = heading(snapshot);
  const lines = [...top, ...fitted(sections, rows === undefined ? Infinity : rows - top.length)];
  return lines.slice(0, rows).map((line) => textOf(line, columns, colour));
}

function heading({ vault, health, at, vms, jobs, stale }: Snapshot): Line[] {
  const counts = (['Critical', 'Warning', 'Normal'] as const).flatMap((each): Cell[] => {
    const count = vms.filter((vm) => vm.health === each).length;
    return count > 0 ? [{ text: `${GAP}${count} ${each}`, style: each }] : [];
  });
  const unprotected = vms.filter((vm) => vm.health === undefined).length;
  return [
    [
      { text: `Vault ${vault}`, style: 'bold' },
      { text: `${GAP}${counted(vms.length, 'VM')}:` },
      ...counts,
      ...(unprotected > 0 ? [{ text: `${GAP}${unprotected} not protected`, style: 'dim' as const }] : []),
      ...(jobs.length > 0 ? [{ text: `${GAP}${jobs.length} running` }] : []),
      { text: `${GAP}${at.slice(0, 19)}Z`, style: 'dim' },
    ],
    ...(stale ? [[staleness(stale, at, health)]] : []),
  ];
}

function staleness({ message, heardAt }: NonNullable<Snapshot['stale']>, at: string, health: Health): Cell {
  const since = heardAt === undefined ? '' : ` This view is ${formatSeconds(secondsBetween(heardAt, at))} old.`;
  return { text: `${message}.${since} Retrying.`, style: health === 'Critical' ? 'Critical' : 'Warning' };
}

/** @param worstFirst used if not all may fit. */
function vmSection({ vms, at }: Snapshot, worstFirst: boolean): Section {
  const rank = ({ health }: VmRow) => (health === undefined ? severity.Normal + 1 : severity[health]);
  const shown = worstFirst ? vms.toSorted((a, b) => rank(a) - rank(b)) : vms;
  const [head, ...rows] = aligned([
    ['VM', 'PHASE', 'RUNS AT', 'HEALTH', 'RPO', 'LAST CYCLE', 'NEXT CYCLE'].map((text) => ({ text, style: 'dim' })),
    ...shown.map((vm) => vmCells(vm, at)),
  ]);
  return { head: head!, blocks: rows.map((row) => [row]) };
}

function vmCells(row: VmRow, at: string): Cell[] {
  const { vm, phase, health, rpoSeconds, lastCycle, nextCycleAt } = row;
  return [
    { text: vm },
    { text: phase },
    { text: runsAtText(row) },
    health ? { text: health, style: health } : { text: '-' },
    { text: rpoSeconds === undefined ? '-' : formatSeconds(rpoSeconds) },
    { text: lastCycle ? formatBytes(lastCycle.bytes) : '-' },
    { text: nextCycleAt === undefined ? '-' : inTime(nextCycleAt, at) },
  ];
}

function jobSection({ jobs, at }: Snapshot): Section {
  const [head, ...rows] = aligned([
    ['RUNNING', 'VM', 'TASK', 'PROGRESS', 'SPEED', 'DONE'].map((text) => ({ text, style: 'dim' })),
    ...jobs.map((job) => jobCells(job, at)),
  ]);
  return { head: head!, blocks: rows.map((row) => [row]) };
}

const standstills: Record<NonNullable<JobRow['waitsFor']>, Cell> = {
  person: { text: 'waits for an operator', style: 'Critical' },
  retry: { text: 'waits for a retry', style: 'Warning' },
  plan: { text: 'waits for the plan' },
};

function jobCells({ title, vm, task, progress, bytesPerSecond, expectedEnd, waitsFor }: JobRow, at: string): Cell[] {
  return [
    { text: title },
    { text: vm ?? '-' },
    { text: task === undefined || task === title ? '-' : task },
    waitsFor ? standstills[waitsFor] : { text: progress ? progressText(progress) : '-' },
    { text: bytesPerSecond === undefined ? '-' : `${formatBytes(bytesPerSecond)}/s` },
    { text: expectedEnd === undefined ? '-' : inTime(expectedEnd, at) },
  ];
}

function progressText({ bytesDone, bytesTotal }: NonNullable<JobRow['progress']>): string {
  const share = bytesTotal === 0 ? 1 : Math.min(1, bytesDone / bytesTotal);
  const done = Math.floor(share * BAR_WIDTH);
  return `[${'#'.repeat(done)}${'.'.repeat(BAR_WIDTH - done)}] ${`${Math.floor(share * 100)}`.padStart(3)} % of ${formatBytes(bytesTotal)}`;
}

function attentionSection({ attention, at }: Snapshot, columns: number): Section {
  return {
    head: [{ text: `NEEDS ATTENTION: ${attention.length}`, style: 'dim' }],
    blocks: attention.map((each) => attentionBlock(each, at, columns)),
  };
}

function attentionBlock({ host, health, message, since, advice }: Attention, at: string, columns: number): Line[] {
  // For a host, the text says when it was last heard.
  const lasting = since === undefined || host !== undefined ? '' : ` (for ${formatSeconds(secondsBetween(since, at))})`;
  return [
    ...wrapped({ text: `${health}${GAP}`, style: health }, `${message}${lasting}`, columns),
    ...advice.flatMap((text) => wrapped({ text: `${GAP}-> ` }, text, columns)),
  ];
}

/** Wraps text between words, because it contains commands to type. If there is too little width, it is cut off. */
function wrapped(lead: Cell, text: string, columns: number): Line[] {
  const width = columns - lead.text.length;
  if (width < LEAST_WIDTH) return [[lead, { text }]];
  const lines: string[] = [];
  for (let rest = printable(text); ;) {
    const space = rest.lastIndexOf(' ', width);
    if (rest.length <= width) {
      lines.push(rest);
      break;
    }
    const end = space > 0 ? space : width;
    lines.push(rest.slice(0, end));
    rest = rest.slice(end).trimStart();
  }
  return lines.map((line, index) => [index === 0 ? lead : { text: ' '.repeat(lead.text.length) }, { text: line }]);
}

/** The sections in order, each with an empty line before it. Each gets as many lines as the others leave. */
function fitted(sections: readonly Section[], rows: number): Line[] {
  const wanted = sections.map(({ blocks }) => blocks.flat().length);
  const room = shared(wanted, rows - 2 * sections.length);
  return sections.flatMap(({ head, blocks }, index) => [[], head, ...cutOff(blocks, room[index]!)]);
}

/** Distributes lines one by one, so that short sections are shown completely. */
function shared(wanted: readonly number[], lines: number): number[] {
  if (wanted.reduce((sum, each) => sum + each, 0) <= lines) return [...wanted];
  const given = wanted.map(() => 0);
  for (let left = lines; left > 0;) {
    for (const [index, want] of wanted.entries()) {
      if (left > 0 && given[index]! < want) {
        given[index]! += 1;
        left -= 1;
      }
    }
  }
  return given;
}

function cutOff(blocks: Section['blocks'], room: number): Line[] {
  if (blocks.flat().length <= room) return blocks.flat();
  const shown: Line[] = [];
  let count = 0;
  // The last line says what is missing.
  while (shown.length + blocks[count]!.length <= room - 1) shown.push(...blocks[count++]!);
  if (room <= 0) return [];
  // If not even the worst entry fits, show as much of it as possible.
  if (count === 0 && room > 1) {
    const others = blocks.length > 1 ? `, and ${blocks.length - 1} more` : '';
    return [...blocks[0]!.slice(0, room - 1), [{ text: `... more of this${others}`, style: 'dim' }]];
  }
  return [...shown, [{ text: `... ${blocks.length - count} more`, style: 'dim' }]];
}

function aligned(rows: readonly (readonly Cell[])[]): Line[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.text.length)));
  return rows.map((row) => row.map((cell, column) => ({ ...cell, text: cell.text.padEnd(widths[column]!) + GAP })));
}

function textOf(line: Line, columns: number, colour: boolean): string {
  let left = columns;
  const last = line.length - 1;
  return line
    .map(({ text, style }, index) => {
      const shown = printable(text).slice(0, left);
      left -= shown.length;
      const trimmed = index === last || left === 0 ? shown.trimEnd() : shown;
      if (!colour || style === undefined || trimmed === '') return trimmed;
      const [on, off] = styles[style];
      return `\u001b[${on}m${trimmed}\u001b[${off}m`;
    })
    .join('');
}

/** Removes control characters: text from elsewhere must not move the cursor or set colours. */
const printable = (text: string): string => text.replace(/[\p{Cc}\p{Cf}]+/gu, ' ');

const inTime = (then: string, now: string): string =>
  toMs(then) <= toMs(now) ? 'due' : `in ${formatSeconds(secondsBetween(now, then))}`;
