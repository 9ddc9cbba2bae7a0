/** Versions of the Azure worker: a protection begun without moves to one, from it to the next, and back to none. */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { protectedItemId } from '../../domain/ids.js';
import { requireReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { SmallSite, VM } from './small-site.js';

const MiB = 1024 * 1024;
const POLL_MS = 100;
/** Of gRPC. */
const NOT_FOUND = 5;

afterEach(() => {
  delete process.env['FARSHORE_WORKER_VERSIONING'];
  delete process.env['FARSHORE_WORKER_BUILD'];
});

test('protection continues through every change of version', { timeout: 180_000 }, async (context) => {
  requireReader('qemu-img', context);
  const folder = await temporaryFolder();
  await mkdir(path.join(folder, 'source'));
  const site = await SmallSite.start(folder, 'source', { dataBytes: MiB });
  const currentBuild = async () => {
    const { workflowService } = site.farshore.temporal.connection;
    const of = { namespace: site.farshore.namespace, deploymentName: 'farshore-vault-01' };
    // The server knows it from its first worker on, which takes its time to start.
    const described = await workflowService.describeWorkerDeployment(of).catch((error: unknown) => {
      if ((error as { code?: unknown }).code !== NOT_FOUND) throw error;
    });
    return described?.workerDeploymentInfo?.routingConfig?.currentDeploymentVersion?.buildId ?? '';
  };
  const untilCurrent = async (build: string | RegExp) => {
    for (;;) {
      const current = await currentBuild();
      if (typeof build === 'string' ? current === build : build.test(current)) return current;
      await sleep(POLL_MS);
    }
  };
  /** What the last tasks of the entity were done by. */
  const versioningOf = async () => {
    const { raw } = await site.farshore.temporal.workflow.getHandle(protectedItemId('vault-01', VM)).describe();
    const { versioningInfo } = raw.workflowExecutionInfo!;
    return { behavior: versioningInfo?.behavior ?? 0, build: versioningInfo?.deploymentVersion?.buildId };
  };
  const sendSome = async (offset: number) => {
    await site.write(MiB, offset);
    return await site.syncNow();
  };
  try {
    await site.farshore.protect(VM);
    const { item } = await site.until(
      ({ item: { phase, job, applied } }) => phase === 'Protected' && !job && !!applied,
    );
    expect((await versioningOf()).behavior).toBe(0);

    process.env['FARSHORE_WORKER_VERSIONING'] = '1';
    await site.restart((text) => text);
    // The package's version, and what the workflows are.
    const first = await untilCurrent(/^\d+\.\d+\.\d+-[0-9a-f]{12}$/);
    await sendSome(8 * MiB);
    // 2: AUTO_UPGRADE.
    expect(await versioningOf()).toEqual({ behavior: 2, build: first });

    process.env['FARSHORE_WORKER_BUILD'] = 'next-build';
    await site.restart((text) => text);
    await untilCurrent('next-build');
    await sendSome(10 * MiB);
    expect(await versioningOf()).toEqual({ behavior: 2, build: 'next-build' });

    delete process.env['FARSHORE_WORKER_VERSIONING'];
    await site.restart((text) => text);
    await untilCurrent('');
    const last = await sendSome(12 * MiB);
    expect(last.item).toMatchObject({ phase: 'Protected', epoch: item.epoch });
    await site.expectEqual();
  } finally {
    await site.stop();
  }
});
