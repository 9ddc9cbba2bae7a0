/**
 * The board of a vault in Markdown, for the Temporal Web UI: the same as `farshore status --watch` in a terminal. While
 * all VMs are healthy it shows no ages, so that the text of a healthy vault does not change.
 */
import { formatBytes } from './bytes.js';
import { counted } from './counted.js';
import type { Attention } from './attention.js';
import { inMarkdown } from './markdown.js';
import { severity, type Board, type HostRow, type JobRow, type VmRow } from './board.js';

export function boardText(board: Board): string {
  const { vault, health, vms, hosts, jobs, attention } = board;
  const waiting = jobs.filter(({ waitsFor }) => waitsFor === 'person');
  return [
    `# Vault ${vault}: ${health}`,
    countsOf(vms, jobs),
    ...section('Needs attention', attention.flatMap(attentionLines)),
    ...section('Waits for an operator', waiting.map(jobLine)),
    ...section('Running', jobs.filter((job) => !waiting.includes(job)).map(jobLine)),
    ...section('Test failovers', vms.flatMap(testLines)),
    ...section('Hosts', hosts.map(hostLine)),
    ...section('VMs', vmLines(vms)),
  ].join('\n');
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ['', `## ${title}`, '', ...lines];
}

function countsOf(vms: readonly VmRow[], jobs: readonly JobRow[]): string {
  const counts = (['Critical', 'Warning', 'Normal'] as const).flatMap((health) => {
    const count = vms.filter((vm) => vm.health === health).length;
    return count > 0 ? [`${count} ${health}`] : [];
  });
  const bare = vms.filter(({ health }) => health === undefined).length;
  const parts = [...counts, ...(bare > 0 ? [`${bare} not protected`] : [])];
  const running =
    jobs.length === 0 ? '' : jobs.length === 1 ? ' 1 job or plan running.' : ` ${jobs.length} jobs and plans running.`;
  return `${counted(vms.length, 'VM')}${parts.length > 0 ? `: ${parts.join(', ')}` : ''}.${running}`;
}

function attentionLines({ health, message, since, host, advice }: Attention): string[] {
  const lasting = since === undefined || host !== undefined ? '' : `, since ${since}`;
  return [`- **${health}**: ${inMarkdown(message)}${lasting}`, ...advice.map((text) => `    - ${inMarkdown(text)}`)];
}

function jobLine({ id, title, vm, task, progress, waitsFor }: JobRow): string {
  const doing = task === undefined || task === title ? '' : `: ${task}`;
  const standstill = { person: ', waits for an operator', retry: ', waits for a retry', plan: ', waits for the plan' };
  const share =
    progress && progress.bytesTotal > 0 ? Math.floor((progress.bytesDone / progress.bytesTotal) * 100) : 100;
  const done = progress ? `, ${share} % of ${formatBytes(progress.bytesTotal)}` : '';
  return `- ${title}${vm === undefined ? '' : ` of ${vm}`}${doing}${waitsFor ? standstill[waitsFor] : done} (\`${id}\`)`;
}

const testLines = ({ vm, testFailover }: VmRow): string[] => {
  if (!testFailover) return [];
  const { testVm, cleanUpAt } = testFailover;
  return [`- ${testVm}, of ${vm}${cleanUpAt === undefined ? '' : `, cleaned up automatically at ${cleanUpAt}`}`];
};

const hostLine = ({ host, vms, health, silence }: HostRow): string =>
  `- ${silence ? `**${host}** has not answered since ${silence.since}` : host}, ${health}: ${vms.join(', ')}`;

function whereText({ activeSide, unseen, stopped }: VmRow): string {
  if (stopped) return 'should run at the recovery site but does not';
  return unseen ? `ran at the ${activeSide} site when its host was last heard` : `runs at the ${activeSide} site`;
}

/** Each VM that is not healthy has its own line. */
function vmLines(vms: readonly VmRow[]): string[] {
  const ill = vms.filter(({ health }) => health !== undefined && health !== 'Normal');
  const named = (of: readonly VmRow[]) => of.map(({ vm }) => vm).join(', ');
  const side = (where: VmRow['activeSide']) => vms.filter((vm) => vm.health === 'Normal' && vm.activeSide === where);
  const bare = vms.filter(({ health }) => health === undefined);
  return [
    ...ill
      .toSorted((a, b) => severity[a.health!] - severity[b.health!])
      .map((row) => `- **${row.health}** ${row.vm}: ${row.phase}, ${whereText(row)}`),
    ...(side('primary').length > 0 ? [`- Normal, at the primary site: ${named(side('primary'))}`] : []),
    ...(side('recovery').length > 0 ? [`- Normal, at the recovery site: ${named(side('recovery'))}`] : []),
    ...(bare.length > 0 ? [`- Not protected: ${named(bare)}`] : []),
  ];
}
