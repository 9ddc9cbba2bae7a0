import { createServer, type AddressInfo, type Server } from 'node:net';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import type { SearchAttributes } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { KeptServer } from '../../instance/kept-server.js';
import { ensureSearchAttributes } from '../../temporal/search-attributes.js';
import { startDevServer, type DevServer } from '../../temporal/server/dev-server.js';
import { findTemporalExecutable } from '../../temporal/server/executables.js';
import { startTestDevServer } from '../support/dev-server.js';
import { fakeExecutable } from '../support/fake-executable.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { createTimeSkippingEnvironment } from '../support/time-skipping.js';

const KEYS = { FarshoreVm: 'Keyword', FarshoreRpo: 'Int', FarshoreSince: 'Datetime', FarshoreNote: 'Text' } as const;

describe('startDevServer', () => {
  let server: DevServer;
  let connection: Connection;
  let dbFile: string;
  beforeAll(async () => {
    const folder = await mkdtemp(join(tmpdir(), 'farshore-test-'));
    // What has a meaning in addresses, and in a file's name has none.
    dbFile = join(folder, 'a b#c?d=%41', 'temporal.db');
    server = await startTestDevServer({ dbFile });
    connection = await Connection.connect({ address: server.address });
  });
  afterAll(async () => {
    await connection?.close();
    await server?.stop();
    await rm(join(dbFile, '../..'), { recursive: true, force: true });
  });

  it('serves the namespace farshore, which keeps closed workflows for 90 days', async () => {
    expect(server).toMatchObject({ namespace: 'farshore', address: expect.stringMatching(/^127\.0\.0\.1:\d+$/) });
    const { config } = await connection.workflowService.describeNamespace({ namespace: 'farshore' });
    expect(Number(config?.workflowExecutionRetentionTtl?.seconds)).toBe(90 * 24 * 60 * 60);
  });

  it('keeps its state in the given file, whatever its name', async () => {
    expect((await stat(dbFile)).size).toBeGreaterThan(0);
    expect(await readdir(join(dbFile, '../..'))).toEqual(['a b#c?d=%41']);
  });

  it('serves the Web UI', async () => {
    const response = await fetch(server.uiUrl);
    expect(response.status).toBe(200);
    expect(await response.text()).toContain('<html');
  });

  it('registers search attributes, which workflows can have and queries find immediately', async () => {
    await ensureSearchAttributes(connection, 'farshore', KEYS);
    // Again: nothing to do. Two at once: only one of them registers.
    await ensureSearchAttributes(connection, 'farshore', KEYS);
    const more = { ...KEYS, FarshoreHealthy: 'Bool', FarshoreRatio: 'Double' } as const;
    await Promise.all([1, 2].map(() => ensureSearchAttributes(connection, 'farshore', more)));
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace: 'farshore' });
    expect(Object.keys(customAttributes)).toEqual(expect.arrayContaining(Object.keys(more)));

    const client = new Client({ connection, namespace: 'farshore' });
    await client.workflow.start('anything', {
      workflowId: 'vm/vault/db-01',
      taskQueue: 'nobody',
      searchAttributes: {
        FarshoreVm: ['db-01'],
        FarshoreRpo: [30],
        FarshoreSince: [new Date()],
        FarshoreNote: ['a b'],
      },
    });
    await expect
      .poll(async () => (await client.workflow.count(`FarshoreVm = 'db-01'`)).count, { timeout: 10_000 })
      .toBe(1);
  });

  it('refuses a search attribute that exists with another type', async () => {
    await ensureSearchAttributes(connection, 'farshore', { FarshoreMode: 'Keyword' });
    const again = ensureSearchAttributes(connection, 'farshore', { FarshoreMode: 'Int' });
    await expect(again).rejects.toThrow(
      'FarshoreMode of namespace farshore has type Keyword, but Farshore needs type Int',
    );
  });

  it('keeps its state over a restart', async () => {
    const folder = await temporaryFolder();
    const files = { dbFile: join(folder, 'state', 'temporal.db'), logFile: join(folder, 'log', 'temporal.log') };
    const first = await startTestDevServer(files);
    await withClient(first, async (client) => {
      await client.workflow.start('anything', { workflowId: 'stays', taskQueue: 'nobody' });
    });
    await Promise.all([first.stop(), first.stop()]);
    await first.ended;

    const second = await startTestDevServer(files);
    onTestFinished(() => second.stop());
    await withClient(second, async (client) => {
      expect((await client.workflow.getHandle('stays').describe()).status.name).toBe('RUNNING');
    });
  });
});

describe('KeptServer', () => {
  it('comes back after a kill, at its address and with its state; once stopped, it stays stopped', async () => {
    const folder = await temporaryFolder();
    const { path: executable } = await findTemporalExecutable();
    const events: string[] = [];
    const restarted: number[] = [];
    const kept = await KeptServer.start({
      executable,
      dbFile: join(folder, 'temporal.db'),
      logFile: join(folder, 'temporal.log'),
      onEvent: (line) => void events.push(line),
      onRestart: async ({ pid }) => void restarted.push(pid),
    });
    const { address, uiUrl, pid } = kept.current;
    try {
      const connection = await Connection.connect({ address });
      const client = new Client({ connection, namespace: 'farshore' });
      await client.workflow.start('anything', { workflowId: 'stays', taskQueue: 'nobody' });
      for (const count of [1, 2]) {
        process.kill(kept.current.pid, 'SIGKILL');
        await expect.poll(() => restarted.length, { timeout: 60_000 }).toBe(count);
        expect(kept.current).toMatchObject({ address, uiUrl });
        expect(kept.pid).toBe(restarted.at(-1));
        // The same connection, which was there before.
        expect((await client.workflow.getHandle('stays').describe()).status.name).toBe('RUNNING');
      }
      expect(new Set([pid, ...restarted]).size).toBe(3);
      expect(events).toEqual([1, 2].map(() => expect.stringMatching(/^temporal ended; restarting it in \d+ ms$/)));
      await connection.close();
    } finally {
      await kept.stop();
    }
    await expect(Connection.connect({ address, connectTimeout: 500 })).rejects.toThrow();
    expect(restarted).toHaveLength(2);
  });
});

describe('startDevServer, when it cannot start', () => {
  it.each([
    ['port', 'Temporal server'],
    ['uiPort', 'Temporal Web UI'],
  ])('names a %s in use, and the remedy', async (option, what) => {
    const folder = await temporaryFolder();
    const port = await occupiedPort();
    const start = startDevServer({
      executable: '/bin/false',
      dbFile: join(folder, 'temporal.db'),
      logFile: join(folder, 'temporal.log'),
      [option]: port,
    });
    const message = `Port ${port} of 127.0.0.1, requested for the ${what}, is in use. Stop the program that listens there`;
    await expect(start).rejects.toThrow(message);
  });

  it("reports the server's last output", async () => {
    const folder = await temporaryFolder();
    const executable = await fakeExecutable(
      join(folder, 'temporal'),
      'echo "database disk image is malformed"; exit 1',
    );
    const files = { dbFile: join(folder, 'temporal.db'), logFile: join(folder, 'temporal.log') };
    const start = startDevServer({ executable, ...files });
    await expect(start).rejects.toThrow(/it ended with code 1\. The end of .*temporal\.log:\ndatabase disk image is/);
    await expect(startDevServer({ executable: '/no/such/program', ...files })).rejects.toThrow('ENOENT');
  });

  it('stops a server that does not answer in time', async () => {
    const folder = await temporaryFolder();
    const executable = await fakeExecutable(join(folder, 'temporal'), 'exec sleep 600');
    const files = { dbFile: join(folder, 'temporal.db'), logFile: join(folder, 'temporal.log') };
    await expect(startDevServer({ executable, ...files, startTimeoutMs: 300 })).rejects.toThrow(/nothing answered at/);
  });
});

describe('createTimeSkippingEnvironment', () => {
  it('registers search attributes and skips time', async () => {
    const environment = await createTimeSkippingEnvironment({ searchAttributes: KEYS });
    onTestFinished(() => environment.teardown());
    const before = await environment.currentTimeMs();
    await environment.sleep('30 days');
    expect((await environment.currentTimeMs()) - before).toBeGreaterThan(29 * 24 * 60 * 60 * 1000);

    // Last, as time stands still while a workflow waits for a worker.
    const start = (workflowId: string, searchAttributes: SearchAttributes) =>
      environment.client.workflow.start('anything', { workflowId, taskQueue: 'nobody', searchAttributes });
    await start('carries-them', { FarshoreVm: ['db-01'], FarshoreRpo: [30] });
    // Refused as an internal error, which the client would try again for long.
    const soon = Date.now() + 1_000;
    const other = environment.connection.withDeadline(soon, () => start('another', { FarshoreOther: ['db-01'] }));
    await expect(other).rejects.toMatchObject({ cause: { details: /FarshoreOther is not defined/ } });
  });

  it('ends running calls and pending retries when it is torn down', async () => {
    const environment = await createTimeSkippingEnvironment();
    const start = (workflowId: string, searchAttributes: SearchAttributes) =>
      environment.client.workflow.start('anything', { workflowId, taskQueue: 'nobody', searchAttributes });
    const { workflowId } = await start('awaited', {});
    const calls = [environment.client.workflow.getHandle(workflowId).result(), start('refused', { Unknown: [1] })];
    const ended = Promise.allSettled(calls);
    await sleep(500);
    await environment.teardown();
    // Repeated on the closed connection a call would never end, and what it throws would fail the whole run.
    expect((await ended).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  });
});

async function withClient(server: DevServer, use: (client: Client) => Promise<void>): Promise<void> {
  const connection = await Connection.connect({ address: server.address });
  try {
    await use(new Client({ connection, namespace: server.namespace }));
  } finally {
    await connection.close();
  }
}

async function occupiedPort(): Promise<number> {
  const server = await new Promise<Server>((resolve) => {
    const listening = createServer().listen(0, '127.0.0.1', () => resolve(listening));
  });
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}
