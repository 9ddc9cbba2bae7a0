/**
 * The clock of one process after the other is more than an hour wrong, either way, with points kept for an hour: none of
 * them goes, they stay in order, and the RPO never says less than the truth.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { readVault } from '../../local/local-vault.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { SmallSite, VM } from './small-site.js';

const MiB = 1024 * 1024;
const WRONG_MS = 70 * 60_000;
const preload = path.resolve(import.meta.dirname, '../support/shifted-clock.mjs');
const HYPERVISOR = { name: 'hypervisor-hyperv-01', commandLine: 'hypervisors/hyperv-01' };
const AZURE = { name: 'azure-vault-01', commandLine: 'azure vault-01' };
const AGENT = { name: 'host-hyperv-01', commandLine: 'host hyperv-01' };

afterEach(() => {
  vi.unstubAllEnvs();
});

test('clocks that are an hour wrong', { timeout: 240_000 }, async () => {
  const folder = await temporaryFolder();
  await mkdir(path.join(folder, 'source'));
  const clocks = path.join(folder, 'clocks.json');
  await writeFile(clocks, '{}');
  vi.stubEnv('FARSHORE_TEST_CLOCK', clocks);
  vi.stubEnv('NODE_OPTIONS', `${process.env['NODE_OPTIONS'] ?? ''} --import=${preload}`);
  const site = await SmallSite.start(folder, 'source', { retentionHours: 1 });
  const points = async () => (await readVault({ kind: 'embedded', path: path.join(folder, 'store') })).vms[0]!.points;
  const made: string[] = [];
  let written = 0;
  /** Sends what a guest has just written. @returns the RPO, s, and by how much the new point's time is off, ms. */
  const replicate = async () => {
    await site.write(65_536, (4 + (written += 1)) * MiB);
    const before = Date.now();
    const sequence = await site.sync();
    const { item, rpoSeconds } = await site.untilRetried(({ item: now }) => (now.applied?.sequence ?? 0) >= sequence);
    const now = await points();
    const newest = now.at(-1)!;
    made.push(newest.id);
    expect(newest.id).toBe(item.latestRecoveryPoint!.id);
    expect(now.map(({ id }) => id)).toEqual(expect.arrayContaining(made));
    expect(now.map(({ id }) => id)).toEqual(now.map(({ id }) => id).toSorted());
    return { rpo: rpoSeconds!, off: Date.parse(newest.time) - before };
  };
  const set = async ({ name, commandLine }: typeof AZURE, shift: number) => {
    await writeFile(clocks, JSON.stringify(shift === 0 ? {} : { [commandLine]: shift }));
    await site.killAndReturn(name);
    const described = () => site.hypervisor.describeVm(VM).catch(() => undefined);
    await expect.poll(described, { timeout: 60_000 }).toMatchObject({ state: 'Running' });
  };
  const HALF = WRONG_MS / 2;
  try {
    await site.farshore.protect(VM);
    await site.until(
      ({ item }) => item.phase === 'Protected' && item.job === undefined && item.applied?.sequence === 2,
    );
    await replicate();
    for (const shift of [WRONG_MS, -WRONG_MS]) {
      await set(HYPERVISOR, shift);
      const { rpo, off } = await replicate();
      expect(Math.abs(off - shift)).toBeLessThan(HALF);
      // Of a host whose clock is behind nobody can tell that what it sent is not old.
      expect(Math.abs(rpo * 1_000 - Math.max(0, -shift))).toBeLessThan(HALF);
      // The RPO goes on with the right clock, rather than to stand at nothing until that has caught up.
      if (shift > 0) await site.until((view) => view.rpoSeconds! > 0);
      await set(HYPERVISOR, 0);
      const right = await replicate();
      expect(Math.abs(right.off)).toBeLessThan(HALF);
      expect(right.rpo * 1_000).toBeLessThan(HALF);
    }
    // No other clock has a say in it.
    for (const [process, shift] of [
      [AZURE, WRONG_MS],
      [AZURE, -WRONG_MS],
      [AGENT, WRONG_MS],
    ] as const) {
      await set(process, shift);
      const { rpo, off } = await replicate();
      expect(Math.abs(off)).toBeLessThan(HALF);
      expect(rpo * 1_000).toBeLessThan(HALF);
    }
    await site.expectEqual();
  } finally {
    await site.stop();
  }
});
