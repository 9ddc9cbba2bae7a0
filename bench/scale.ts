/**
 * Many protected VMs on one machine, in real time: does any of them miss a cycle, and what does one VM cost the
 * Temporal server? FARSHORE_BENCH_MINUTES sets how long they are watched (default 30).
 */
import { open, readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Farshore } from '../client/farshore.js';
import { protectedItemId } from '../domain/ids.js';
import { formatSeconds } from '../domain/time.js';
import { HypervisorClient } from '../sites/hypervisor/control-client.js';
import { NbdGuest } from '../sites/nbd/guest.js';
import type { DataFolder } from '../config/data-folder.js';
import type { RunningInstance } from '../instance/up.js';
import type { ProtectedItemView } from '../domain/item-view.js';
import { required, type Bench, type Outcome } from './figures.js';
import { withSite } from './instance.js';
import { withScratch } from './scratch.js';

const MiB = 1024 * 1024;
const VMS = 200;
const HOSTS = 4;
const DISK_BYTES = 16 * MiB;
const MINUTES = Number(process.env['FARSHORE_BENCH_MINUTES'] ?? 30);
/** Number of VMs whose protection is enabled at the same time. */
const PROTECTED_AT_A_TIME = 8;
/** How often each guest writes a block, ms. */
const WRITE_EVERY_MS = 5_000;
const BLOCK_BYTES = 4_096;
/** How long the server is watched while no cycle is due. */
const REST_SECONDS = 120;
/** The kernel's unit of processor time: 100 per second on every Linux. */
const TICKS_PER_SECOND = 100;

const hosts = Array.from({ length: HOSTS }, (_, index) => `hyperv-${index + 1}`);
const vms = Array.from({ length: VMS }, (_, index) => ({ name: `vm-${index + 1}`, host: hosts[index % HOSTS]! }));

export const scale: Bench = {
  name: 'scale',
  summary: `${VMS} protected VMs at 5 minutes, for ${MINUTES} minutes`,
  onlyWhenNamed: true,
  run: (say) => withScratch((folder) => measure(folder, say)),
};

const siteText = `
vault: { name: vault-01, store: { kind: embedded, path: store } }
vmmServers:
  - { name: vmm-01, clouds: [{ name: cloud, hosts: [${hosts.map((name) => `{ name: ${name} }`).join(', ')}] }] }
policies: [{ name: every-five, copyFrequency: 5m }]
vms:
${vms.map(({ name, host }) => `  - { name: ${name}, host: ${host}, policy: every-five, disks: [{ name: os, path: ${name}.img }] }`).join('\n')}
`;

async function measure(folder: string, say: (line: string) => void): Promise<Outcome[]> {
  for (const { name } of vms) {
    const disk = await open(path.join(folder, `${name}.img`), 'w');
    await disk.truncate(DISK_BYTES);
    await disk.write(Buffer.alloc(MiB, name), 0, MiB, 0);
    await disk.close();
  }
  return withSite(folder, siteText, async ({ data, running, farshore }) => {
    const guests = await Guests.start(data);
    try {
      await protectAll(farshore, say);
      return await watch(farshore, running, say);
    } finally {
      await guests.stop();
    }
  });
}

async function protectAll(farshore: Farshore, say: (line: string) => void): Promise<void> {
  const left = [...vms];
  const from = performance.now();
  const work = async () => {
    for (let vm = left.shift(); vm !== undefined; vm = left.shift()) {
      await farshore.protect(vm.name);
      await farshore.followVm(vm.name, (view) => view?.item.phase === 'Protected');
    }
  };
  await Promise.all(Array.from({ length: PROTECTED_AT_A_TIME }, work));
  say(`${VMS} VMs are protected, after ${formatSeconds((performance.now() - from) / 1_000)}`);
}

async function watch(farshore: Farshore, running: RunningInstance, say: (line: string) => void): Promise<Outcome[]> {
  const before = await Promise.all(vms.map(({ name }) => standingOf(farshore, name)));
  const cpuBefore = await processorSeconds(running.instance.temporal.pid!);
  for (let minute = 1; minute <= MINUTES; minute += 1) {
    await sleep(60_000);
    if (minute % 5 === 0) say(`${minute} minutes, ${cyclesIn(before, await standings(farshore))} cycles`);
  }
  const after = await standings(farshore);
  const cpu = (await processorSeconds(running.instance.temporal.pid!)) - cpuBefore;
  const restPerSecond = await processorAtRest(farshore, running, say);
  const cycles = cyclesIn(before, after);
  const late = after.filter(({ view }) => view.item.cycleHistory.includes(false));
  const missed = late.reduce((sum, { view }) => sum + view.item.cycleHistory.filter((onTime) => !onTime).length, 0);
  const unhealthy = after.filter(({ view }) => view.health !== 'Normal');
  const expected = VMS * Math.floor(MINUTES / 5);
  return [
    {
      name: `scale, cycles missed by ${VMS} VMs at 5 minutes in ${MINUTES} minutes`,
      unit: 'count',
      samples: [missed + Math.max(0, expected - cycles)],
      targets: [required('at most', 0)],
      details: [
        `${cycles} cycles, ${expected} were due at least`,
        `${unhealthy.length} VMs not Normal at the end${unhealthy.length > 0 ? `: ${unhealthy.map(({ view }) => view.item.vm).join(', ')}` : ''}`,
      ],
    },
    {
      name: 'scale, events in the history of a VM per cycle',
      unit: 'count',
      samples: eventsPerCycle(before, after),
      targets: [required('at most', 13)],
      details: [],
    },
    {
      name: 'scale, processor time of the Temporal server per cycle',
      unit: 'ms',
      samples: [((cpu - restPerSecond * MINUTES * 60) * 1_000) / cycles],
      targets: [required('at most', 55)],
      details: [
        `${cpu.toFixed(0)} s in ${MINUTES} minutes, of which ${(restPerSecond * MINUTES * 60).toFixed(0)} s are not for cycles: looks at ${HOSTS} hosts, and what the server does by itself`,
        `with them: ${((cpu * 1_000) / cycles).toFixed(1)} ms`,
      ],
    },
  ];
}

/**
 * Processor time that the server uses while all VMs are paused, when only their hosts are watched. Seconds per second.
 */
async function processorAtRest(
  farshore: Farshore,
  running: RunningInstance,
  say: (line: string) => void,
): Promise<number> {
  for (const { name } of vms) await farshore.pause(name);
  // By then, the cost of pausing is over.
  await sleep(30_000);
  const before = await processorSeconds(running.instance.temporal.pid!);
  await sleep(REST_SECONDS * 1_000);
  const used = (await processorSeconds(running.instance.temporal.pid!)) - before;
  say(`at rest the server uses ${((used * 1_000) / REST_SECONDS).toFixed(0)} ms of processor time a second`);
  return used / REST_SECONDS;
}

interface Standing {
  readonly view: ProtectedItemView;
  readonly runId: string;
  readonly events: number;
}

const standings = (farshore: Farshore) => Promise.all(vms.map(({ name }) => standingOf(farshore, name)));

async function standingOf(farshore: Farshore, vm: string): Promise<Standing> {
  const view = await farshore.protectedItem(vm);
  if (!view) throw new Error(`${vm} is not protected any more`);
  const handle = farshore.temporal.workflow.getHandle(protectedItemId(farshore.site.vault.name, vm));
  const { runId, historyLength } = await handle.describe();
  return { view, runId, events: historyLength };
}

const sequenceOf = ({ view }: Standing): number => view.item.applied?.sequence ?? 0;

const cyclesIn = (before: readonly Standing[], after: readonly Standing[]): number =>
  after.reduce((sum, one, index) => sum + sequenceOf(one) - sequenceOf(before[index]!), 0);

/** Only for VMs whose workflow has not continued as new in between. */
const eventsPerCycle = (before: readonly Standing[], after: readonly Standing[]): number[] =>
  after.flatMap((one, index) => {
    const first = before[index]!;
    const cycles = sequenceOf(one) - sequenceOf(first);
    return one.runId === first.runId && cycles > 0 ? [(one.events - first.events) / cycles] : [];
  });

/** Processor time that a process has used, seconds. */
async function processorSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  // The name, which may contain spaces, is in parentheses; utime and stime are the 14th and 15th fields.
  const rest = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(rest[11]) + Number(rest[12])) / TICKS_PER_SECOND;
}

/** One connection to each disk, with a block written at each interval. */
class Guests {
  #stopped = false;

  private constructor(
    private readonly disks: readonly NbdGuest[],
    private readonly running: Promise<void>,
  ) {}

  static async start(data: DataFolder): Promise<Guests> {
    const disks: NbdGuest[] = [];
    for (const host of hosts) {
      for (const vm of await new HypervisorClient(data.hypervisorControl(host)).listVms())
        disks.push(await NbdGuest.connect(vm.disks[0]!.nbdUri!));
    }
    const guests: Guests = new Guests(
      disks,
      Promise.resolve().then(() => guests.#run()),
    );
    guests.running.catch(() => undefined);
    return guests;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.running;
    for (const disk of this.disks) await disk.close();
  }

  async #run(): Promise<void> {
    const block = Buffer.alloc(BLOCK_BYTES);
    for (let round = 0; !this.#stopped; round += 1) {
      for (const [index, disk] of this.disks.entries()) {
        block.writeUInt32LE(round * VMS + index);
        await disk.write(block, (round * BLOCK_BYTES) % DISK_BYTES);
      }
      await sleep(WRITE_EVERY_MS);
    }
  }
}
