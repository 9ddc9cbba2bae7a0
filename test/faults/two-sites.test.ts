/**
 * Primary and recovery site on hosts of their own, as in production: every process started by itself, TLS with client
 * certificates to Temporal and TLS to the storage account, one link between the sides, which is cut while changes are sent.
 */
import { once } from 'node:events';
import { open, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test, type TestContext } from 'vitest';
import { Azurite } from '../../client/demo/azurite.js';
import { DataFolder } from '../../dist/config/data-folder.js';
import { findDevServer } from '../../dist/temporal/server/executables.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { HypervisorClient } from '../../sites/hypervisor/control-client.js';
import { makeCertificates, type Certificates } from '../support/certificates.js';
import { requireReader, runReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { ADDRESSES, TwoNetworks, type Ended, type Side } from '../support/two-networks.js';
import { OrderedGuest } from './ordered-guest.js';
import { checkPrefix, withFiles } from './prefix-check.js';

const MiB = 1024 * 1024;
/** So large that what the guest writes while the link is cut is far from half of it. */
const DISK_BYTES = 512 * MiB;
const DISKS = ['os', 'data'];
const VM = 'db-01';
const VAULT = 'vault-01';
const TEMPORAL_PORT = 7233;
const PLAIN_PORT = 7243;
const NAME = 'temporal.test';
/** Reasons of a health that is not Normal while the primary site can't be reached. */
const AWAY: readonly string[] = ['WorkerLost', 'AgentNotAnswering', 'StoreUnreachable'];
const PATIENCE_MS = 240_000;
const entry = (name: string) => path.resolve('dist', `${name}.js`);

const siteText = (folder: string, storeUrl: string) => `
vault: { name: ${VAULT}, store: { kind: azure, url: '${storeUrl}' } }
vmmServers:
  - { name: vmm-01, clouds: [{ name: cloud, hosts: [{ name: hyperv-01 }] }] }
policies: [{ name: fast, copyFrequency: 30s }]
vms:
  - name: ${VM}
    host: hyperv-01
    policy: fast
    disks: [${DISKS.map((disk) => `{ name: ${disk}, path: ${folder}/${disk}.img }`).join(', ')}]
`;

test('the link between both sides is cut and healed, and nothing is lost', { timeout: 900_000 }, async (context) => {
  requireReader('qemu-img', context);
  const sides = await TwoSites.start(context);
  try {
    const { guest, networks } = sides;
    guest.start();
    expect((await sides.command('protect', VM, '--wait')).code).toBe(0);
    sides.say('protected');
    const before = await sides.until(({ phase, applied }) => phase === 'Protected' && (applied?.sequence ?? 0) > 1);

    // In the middle of a cycle that takes a while to send.
    await sides.writeNoise();
    expect((await sides.command('sync', VM)).code).toBe(0);
    await sleep(500);
    networks.cut();
    sides.say('the link is cut');
    const written = guest.acknowledged;
    // What was being sent is lost first; then nobody takes up the next attempt.
    const cutOff = await sides.until(({ conditions = [] }) => conditions.some(({ reason }) => AWAY.includes(reason)));
    expect(cutOff.health).not.toBe('Normal');
    // The guest at the primary site has noticed nothing.
    expect(guest.acknowledged).toBeGreaterThan(written + 100);

    networks.heal();
    sides.say('healed');
    const healed = await sides.until(({ applied, conditions = [] }) => {
      const caughtUp = (applied?.sequence ?? 0) > (before.applied?.sequence ?? 0) + 1;
      return caughtUp && !conditions.some(({ reason }) => AWAY.includes(reason));
    });
    expect(healed.resync).toBeUndefined();
    expect(healed.epoch).toBe(before.epoch);

    sides.say('caught up');
    const failover = await sides.command('failover', VM, '--type', 'planned', '--yes', '--wait');
    expect(failover.code, failover.stderr).toBe(0);
    await guest.stop();
    await sides.expectNothingLost();
  } finally {
    await sides.stop();
  }
});

/** What `vm show --json` tells. */
type ShownVm = Partial<Pick<ProtectedItemView, 'operations' | 'health' | 'conditions'>> &
  Partial<Pick<ProtectedItem, 'phase' | 'epoch' | 'applied' | 'resync'>>;

class TwoSites {
  readonly hypervisor: HypervisorClient;
  readonly guest: OrderedGuest;
  readonly #begun = performance.now();

  private constructor(
    readonly networks: TwoNetworks,
    private readonly folder: string,
    private readonly data: Readonly<Record<Side, DataFolder>>,
    private readonly env: NodeJS.ProcessEnv,
    private readonly azurite: Azurite,
    private readonly said: string[],
  ) {
    this.hypervisor = new HypervisorClient(data.primary.hypervisorControl('hyperv-01'));
    this.guest = new OrderedGuest({
      ...{ vm: VM, disks: DISKS, region: { offset: MiB, length: 4 * MiB }, pauseMs: 6 },
      urisOf: async () => (await this.hypervisor.describeVm(VM)).disks.map(({ nbdUri }) => nbdUri!),
    });
  }

  static async start(context: Pick<TestContext, 'skip'>): Promise<TwoSites> {
    const networks = TwoNetworks.make(context);
    try {
      return await TwoSites.#startIn(networks);
    } catch (error) {
      await networks.remove();
      throw error;
    }
  }

  static async #startIn(networks: TwoNetworks): Promise<TwoSites> {
    const folder = await temporaryFolder();
    for (const disk of DISKS) {
      await writeFile(path.join(folder, `${disk}.img`), '');
      await truncate(path.join(folder, `${disk}.img`), DISK_BYTES);
    }
    const certificates = makeCertificates(folder, [`DNS:${NAME}`, `IP:${ADDRESSES.recovery}`]);
    const said: string[] = [];
    const log = (who: string) => (text: string) => void said.push(`${who}: ${text}`);

    await TwoSites.#startTemporal(networks, folder, certificates, log);
    const azurite = await Azurite.start({
      host: ADDRESSES.recovery,
      launcher: networks.prefix('recovery'),
      tls: certificates.server,
    });
    const site = path.join(folder, 'site.yaml');
    await writeFile(site, siteText(folder, `${azurite.url}/${VAULT}`));
    const inherited = Object.entries(process.env).filter(([name]) => !/^(TEMPORAL|FARSHORE)_(?!CACHE)/.test(name));
    const env = {
      ...Object.fromEntries(inherited),
      TEMPORAL_ADDRESS: `${ADDRESSES.recovery}:${TEMPORAL_PORT}`,
      TEMPORAL_NAMESPACE: 'farshore',
      TEMPORAL_TLS: 'true',
      TEMPORAL_TLS_SERVER_NAME: NAME,
      TEMPORAL_TLS_SERVER_CA_CERT_PATH: certificates.ca,
      TEMPORAL_TLS_CLIENT_CERT_PATH: certificates.client.certificate,
      TEMPORAL_TLS_CLIENT_KEY_PATH: certificates.client.key,
      FARSHORE_STORE_CONNECTION_STRING: azurite.connectionString(),
      NODE_EXTRA_CA_CERTS: certificates.ca,
      FARSHORE_SITE: site,
    };
    const data = {
      primary: new DataFolder(path.join(folder, 'primary')),
      recovery: new DataFolder(path.join(folder, 'recovery')),
    };
    const sites = new TwoSites(networks, folder, data, env, azurite, said);
    const prepared = await sites.untilAnswered('prepare');
    expect(prepared.code, prepared.stderr).toBe(0);
    await sites.#startProcesses(log);
    return sites;
  }

  static async #startTemporal(
    networks: TwoNetworks,
    folder: string,
    { ca, server }: Certificates,
    log: (who: string) => (text: string) => void,
  ): Promise<void> {
    const found = await findDevServer({ onProgress: () => undefined });
    if (found.kind === 'address')
      throw new Error('this test starts a Temporal server of its own: unset TEMPORAL_ADDRESS');
    const place = ['--ip', '127.0.0.1', '--port', `${PLAIN_PORT}`, '--db-filename', path.join(folder, 'temporal.db')];
    networks.start(
      'recovery',
      [found.path, 'server', 'start-dev', '--headless', ...place],
      process.env,
      log('temporal'),
    );
    const front = path.resolve('test/support/tls-front.mjs');
    const listen = [ADDRESSES.recovery, `${TEMPORAL_PORT}`, `${PLAIN_PORT}`, server.certificate, server.key, ca];
    networks.start('recovery', [process.execPath, front, ...listen], process.env, log('tls'));
  }

  async #startProcesses(log: (who: string) => (text: string) => void): Promise<void> {
    const run = (side: Side, who: string, ...args: string[]) => {
      const command = [process.execPath, entry('client/cli'), ...args, '--data', this.data[side].path];
      return this.networks.start(side, command, this.env, log(who));
    };
    const hypervisor = run('primary', 'hypervisor', 'hypervisor', '--host', 'hyperv-01');
    const compute = run('recovery', 'compute', 'recovery-compute');
    await Promise.all([hypervisor, compute].map((child) => once(child.stdout!, 'data')));
    const worker = (side: Side, role: string, name: string) =>
      run(side, role, 'worker', '--role', role, '--name', name);
    worker('recovery', 'azure', VAULT);
    worker('primary', 'vmm', 'vmm-01');
    worker('primary', 'host', 'hyperv-01');
  }

  say = (what: string): void => console.log(`${Math.round((performance.now() - this.#begun) / 1000)} s: ${what}`);

  /** What an operator at the recovery site types. */
  command(...args: string[]): Promise<Ended> {
    const place = ['--data', this.data.recovery.path];
    return this.networks.run('recovery', [process.execPath, entry('client/cli'), ...args, ...place], this.env);
  }

  /** As `command`, until Temporal is there. */
  async untilAnswered(...args: string[]): Promise<Ended> {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const ended = await this.command(...args);
      if (ended.code === 0 || performance.now() > deadline) return ended;
      await sleep(500);
    }
  }

  /** Asked as an operator asks: what waits for a retry is retried. */
  async until(reached: (vm: ShownVm) => boolean): Promise<ShownVm> {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const { stdout } = await this.command('vm', 'show', VM, '--json');
      const shown = stdout === '' ? undefined : (JSON.parse(stdout) as ShownVm);
      if (shown && reached(shown)) return shown;
      if (performance.now() > deadline) {
        throw new Error(`${VM} did not get there: ${stdout}\n${this.said.slice(-10).join('').slice(-2000)}`);
      }
      if (shown?.operations?.retry.allowed) await this.command('retry', VM);
      await sleep(1_000);
    }
  }

  /** More than passes at once. */
  async writeNoise(): Promise<void> {
    const { NbdGuest } = await import('../../sites/nbd/guest.js');
    const { disks } = await this.hypervisor.describeVm(VM);
    const guest = await NbdGuest.connect(disks[0]!.nbdUri!);
    const block = Buffer.alloc(MiB);
    for (let index = 0; index < 24; index += 1) {
      for (let at = 0; at < block.length; at += 8) block.writeDoubleLE(Math.random(), at);
      await guest.write(block, 16 * MiB + index * MiB);
    }
    await guest.close();
  }

  /** By the files alone: what was exported at the recovery site, against the source and what the guest knows. */
  async expectNothingLost(): Promise<void> {
    const target = path.join(this.folder, 'exported');
    const exported = await this.command('vault', 'export', VM, '--point', 'latest', '--to', target);
    expect(exported.code, exported.stderr).toBe(0);
    const files = DISKS.map((disk) => path.join(target, `${disk}.vhd`));
    for (const [index, file] of files.entries()) {
      const source = path.join(this.folder, `${DISKS[index]}.img`);
      expect(await runReader('qemu-img', 'compare', '-f', 'raw', '-F', 'vpc', source, file)).toContain('identical');
    }
    const { last, faults } = await withFiles(files, (opened) => checkPrefix(this.guest, opened, Date.now()));
    expect(faults).toEqual([]);
    expect(last).toBeGreaterThanOrEqual(this.guest.acknowledged);
    // Something was written at all.
    const first = Buffer.alloc(512);
    const handle = await open(files[0]!, 'r');
    await handle.read(first, 0, first.length, MiB);
    await handle.close();
    expect(first.equals(Buffer.alloc(512))).toBe(false);
  }

  async stop(): Promise<void> {
    await this.guest.stop().catch(() => undefined);
    await this.azurite.stop();
    await this.networks.remove();
  }
}
