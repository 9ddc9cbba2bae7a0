/**
 * A running site gets keys, and later another one. What Temporal holds from then on shows nothing to those who have none;
 * whoever has them reads everything, also what is older. The tests build on each other.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, mkdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Connection } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { Farshore } from '../../client/farshore.js';
import { workerDataConverter } from '../../dist/temporal/encryption/data-converter.js';
import { encryptedWorkflowBundlePath } from '../../dist/workers/worker.js';
import { EncryptionCodec, isEncrypted } from '../../dist/temporal/encryption/codec.js';
import { addKey, readKeyFile } from '../../temporal/encryption/key-file.js';
import { KeyRing } from '../../dist/temporal/encryption/key-ring.js';
import { Shell, type Outcome } from '../client/command.js';
import { isLoopback, listenersOf } from '../support/listeners.js';
import { newKey, writeKeyFile } from '../support/key-files.js';
import { quietenRuntime } from '../support/quiet-runtime.js';
import { findSecrets, secretVariables } from '../support/secrets.js';
import { temporalContent, type TemporalContent } from '../support/temporal-content.js';
import { SmallSite, VM } from './small-site.js';

const KEY_FILE = 'keys.yaml';
const HOST = 'hyperv-01';
const OTHER_VM = 'app-01';
/** Without an address these are meant for another server, and are kept from the instance's own. */
const secrets: Record<string, string> = Object.fromEntries(
  secretVariables.map((name) => [name, `${name.toLowerCase()}/${randomBytes(24).toString('base64')}`]),
);

let folder: string;
let keyFile: string;
let site: SmallSite;
let connection: Connection;
/** Since then the site has keys. */
let switchedOn: Date;
const said: Outcome[] = [];

/** As an administrator of the site types it. */
async function run(...args: string[]): Promise<Outcome> {
  const shell = new Shell(folder, { ...secrets, FARSHORE_ENCRYPTION_KEYS: keyFile });
  const outcome = await shell.run(...args, '--data', 'data');
  said.push(outcome);
  return outcome;
}
const content = () => temporalContent(connection, site.running.instance.temporal.namespace);
const keyOf = ({ metadata }: TemporalContent['payloads'][number]) =>
  Buffer.from(metadata!['encryption-key-id'] ?? []).toString();

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'farshore-encrypted-'));
  keyFile = path.join(folder, KEY_FILE);
  for (const [name, secret] of Object.entries(secrets)) vi.stubEnv(name, secret);
  vi.stubEnv('FARSHORE_LOG_LEVEL', 'trace');
  await mkdir(path.join(folder, 'source'));
  site = await SmallSite.start(folder, 'source', {
    vms: [VM, OTHER_VM],
    diskBytes: 8 * 1024 * 1024,
    dataBytes: 1024 * 1024,
  });
});
afterAll(async () => {
  await connection.close();
  await site.stop();
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

test('a site without keys gets keys and continues', async () => {
  await site.farshore.protect(VM);
  await site.until(({ item }) => item.phase === 'Protected' && item.applied !== undefined);
  expect((await run('keys', 'new')).code).toBe(0);
  // Its workers could not read what such a command would send.
  expect(await run('sync', VM)).toMatchObject({ code: 3, stderr: expect.stringContaining('was started without keys') });
  vi.stubEnv('FARSHORE_ENCRYPTION_KEYS', keyFile);
  await site.restart((text) => text, {
    // Times of events are told in seconds.
    meanwhile: async () => {
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      switchedOn = new Date();
    },
  });
  connection = await Connection.connect({ address: site.running.instance.temporal.address });
  await site.write(1024 * 1024, 4096);
  await site.syncNow();
  await site.farshore.protect(OTHER_VM);
  await site.until(({ item }) => item.phase === 'Protected' && item.applied !== undefined, OTHER_VM);
});

test('failures are encrypted with their messages, and the client can read them', async () => {
  const store = path.join(folder, 'store');
  await rename(store, `${store}-away`);
  await site.farshore.sync(VM).catch(() => undefined);
  const { conditions } = await site.until(({ item }) => item.retry !== undefined);
  expect(conditions[0]?.message).toContain('store');
  await rename(`${store}-away`, store);
  await site.retryUntil(({ item }) => item.applied !== undefined);
});

test('another key is used from the first message on after it was announced', async () => {
  const { id } = await addKey(keyFile, { standby: false, today: 'second' });
  expect((await run('sync', VM)).code).toBe(0);
  await site.syncNow();
  const { payloads } = await content();
  const entity = payloads.filter(({ place }) => place.startsWith(`vm/vault-01/${VM}@`));
  const memo = entity.find(({ place }) => place.includes('/memo/'));
  expect(keyOf(memo!)).toBe(id);
  // Histories go on with it, whoever it was that wrote.
  expect(new Set(entity.map(keyOf))).toEqual(new Set(['', ...(await readKeyFile(keyFile)).keys.keys()]));
});

test('Temporal holds nothing readable except ids, queues and search attributes', async () => {
  const { workflowIds, payloads, failures } = await content();
  expect(workflowIds).toEqual(expect.arrayContaining([`vm/vault-01/${VM}`, `vm/vault-01/${OTHER_VM}`]));
  const isAfter = ({ time, place }: (typeof payloads)[number]) => time > switchedOn && !isOfBefore(place, payloads);
  const since = payloads.filter((payload) => isAfter(payload) && !isHeartbeatOfBefore(payload));
  const readable = since.filter((payload) => !isEncrypted(payload) && !isServers(payload)).map(({ place }) => place);
  expect(readable).toEqual([]);
  // Of everything that there is to hide, there is some.
  const places = since.map(({ place }) => place).join('\n');
  for (const kind of [
    'workflowExecutionStartedEventAttributes/input',
    'activityTaskScheduledEventAttributes/input',
    'activityTaskCompletedEventAttributes/result',
    'workflowExecutionUpdateAcceptedEventAttributes',
    'workflowExecutionUpdateCompletedEventAttributes',
    'workflowExecutionSignaledEventAttributes/input',
    'startChildWorkflowExecutionInitiatedEventAttributes/input',
    'memo/fields/protectedItem',
    'memo/fields/job',
    'upsertedMemo/fields',
    'failure/encodedAttributes',
    'userMetadata/summary',
  ]) {
    expect(places).toContain(kind);
  }
  const recent = failures.filter(({ time }) => time > switchedOn);
  expect(recent.length).toBeGreaterThan(0);
  for (const { message, stackTrace, place } of recent) {
    expect({ place, stackTrace }).toEqual({ place, stackTrace: '' });
    for (const hidden of [folder, VM, HOST]) expect(message).not.toContain(hidden);
  }

  const codec = new EncryptionCodec(await KeyRing.open(keyFile));
  const values = (await codec.decode([...payloads])).map((payload) => defaultPayloadConverter.fromPayload(payload));
  const text = JSON.stringify(values);
  for (const hidden of [VM, OTHER_VM, path.join(folder, 'store')]) expect(text).toContain(hidden);
  // The server's own file, whatever it is that writes there. Names of VMs are parts of ids.
  const { dir, base } = path.parse(site.data.temporalDatabase());
  for (const suffix of ['', '-wal']) {
    const stored = await readFile(path.join(dir, base + suffix));
    expect(stored.includes(path.join(folder, 'store'))).toBe(false);
    if (suffix === '') expect(stored.includes(`vm/vault-01/${VM}`)).toBe(true);
  }
});

test('histories replay, whichever keys they were written with, and without', async () => {
  quietenRuntime();
  const options = {
    workflowBundle: { code: await readFile(encryptedWorkflowBundlePath, 'utf8') },
    dataConverter: workerDataConverter(await KeyRing.open(keyFile)),
  };
  const kinds = new Set<string>();
  const histories = site.farshore.temporal.workflow.list().intoHistories();
  for await (const { workflowId, error } of Worker.runReplayHistories(options, histories)) {
    expect({ workflowId, error }).toEqual({ workflowId, error: undefined });
    kinds.add(workflowId.split('/')[0]!);
  }
  expect(kinds).toEqual(new Set(['vm', 'job', 'host', 'vault']));
});

test('with the keys, commands read everything; without them, they say what is missing', async () => {
  const shown = await run('vm', 'show', VM);
  expect(shown).toMatchObject({ code: 0, stdout: expect.stringContaining('Protected') });
  expect((await run('status')).stdout).toContain(OTHER_VM);
  const jobs = await run('job', 'list');
  expect(jobs).toMatchObject({ code: 0, stdout: expect.stringContaining('Initial replication') });
  const without = await new Shell(folder).run('vm', 'show', VM, '--data', 'data');
  said.push(without);
  expect(without).toMatchObject({ code: 3, stdout: '' });
  expect(without.stderr).toMatch(
    /encrypted with key \S+, but no keys are configured here\. Set FARSHORE_ENCRYPTION_KEYS/,
  );
  // Nor is anything sent in the clear, or with a key that has only the name of the right one.
  const strange = path.join(folder, 'strange.yaml');
  const [first] = (await readKeyFile(keyFile)).keys.keys();
  await writeKeyFile(strange, first!, { [first!]: newKey() });
  for (const [env, problem] of [
    [
      {},
      /nothing was sent: the worker azure:vault-01@\S+ encrypts its data in Temporal, but no keys are configured here/,
    ],
    [
      { FARSHORE_ENCRYPTION_KEYS: strange },
      /nothing was sent: .* and \S*strange\S* have different keys with the id \S+\./,
    ],
  ] as const) {
    const refused = await new Shell(folder, env).run('sync', VM, '--data', 'data');
    said.push(refused);
    expect(refused).toMatchObject({ code: 3, stdout: '', stderr: expect.stringMatching(problem) });
  }
  const { address, namespace } = site.running.instance.temporal;
  const farshore = await Farshore.connect({ site: site.farshore.site, address, namespace });
  expect((await farshore.protectedItem(VM))?.item.vm).toBe(VM);
  await farshore.close();
});

test('the Web UI gets a codec endpoint, which decodes its pages', async () => {
  const { temporal, encryption } = site.running.instance;
  const settings = (await (await fetch(`${temporal.uiUrl}/api/v1/settings`)).json()) as {
    Codec: { Endpoint: string };
  };
  expect(settings.Codec.Endpoint).toBe(encryption!.codecEndpoint);
  const api = `${temporal.uiUrl}/api/v1/namespaces/${temporal.namespace}/workflows`;
  const listed = (await (await fetch(api)).json()) as {
    executions: { execution: { workflowId: string }; memo: { fields?: { protectedItem?: object } } }[];
  };
  const { memo } = listed.executions.find(({ execution }) => execution.workflowId === `vm/vault-01/${VM}`)!;
  expect(JSON.stringify(memo)).not.toContain(Buffer.from(VM).toString('base64').slice(0, 6));
  for (const origin of [temporal.uiUrl!, temporal.uiUrl!.replace('127.0.0.1', 'localhost')]) {
    const response = await fetch(`${encryption!.codecEndpoint}/decode`, {
      method: 'POST',
      headers: { origin, 'content-type': 'application/json', 'x-namespace': temporal.namespace },
      body: JSON.stringify({ payloads: [memo.fields!.protectedItem] }),
    });
    const { payloads } = (await response.json()) as { payloads: { data: string }[] };
    expect(JSON.parse(Buffer.from(payloads[0]!.data, 'base64').toString())).toMatchObject({ vm: VM });
  }
});

test('everything listens on loopback, or on sockets of this user only', async () => {
  const names = ['temporal', `hypervisor-${HOST}`, 'recovery-compute', 'azure-vault-01', 'vmm-vmm-01', `host-${HOST}`];
  const pids = names.map((name) => site.running.processId(name)!);
  const { tcp, unix } = await listenersOf([...pids, process.pid]);
  // Temporal's service and its Web UI; the codec server.
  expect(tcp.length).toBeGreaterThanOrEqual(3);
  expect(tcp.filter((listener) => !isLoopback(listener))).toEqual([]);
  // Control and NBD of the hypervisor, control of the recovery compute.
  expect(unix.length).toBeGreaterThanOrEqual(3);
  for (const socket of unix) {
    expect({ socket, mode: (await stat(socket)).mode & 0o777 }).toEqual({ socket, mode: 0o600 });
    expect((await stat(path.dirname(socket))).mode & 0o777).toBe(0o700);
  }
});

test('no secret is stored, logged or printed', async () => {
  const keys = [...(await readKeyFile(keyFile)).keys].map(
    ([id, bytes]) => [`key ${id}`, bytes.toString('base64')] as const,
  );
  const { payloads } = await content();
  const codec = new EncryptionCodec(await KeyRing.open(keyFile));
  const decoded = (await codec.decode([...payloads])).map(({ data }) => Buffer.from(data ?? []).toString());
  const texts = {
    'what Temporal holds': decoded.join('\n'),
    'what commands said': said.map(({ stdout, stderr }) => stdout + stderr).join('\n'),
  };
  const everything = { ...secrets, ...Object.fromEntries(keys) };
  expect(await findSecrets(everything, { folder, except: [KEY_FILE], texts })).toEqual([]);
  // The search finds what is there to be found.
  const [name, secret] = Object.entries(everything)[0]!;
  const control = { folder, except: [], texts: { 'a query': `?sig=${encodeURIComponent(secret)}` } };
  expect(await findSecrets(everything, control)).toEqual(
    expect.arrayContaining([`${name} in a query`, ...keys.map(([id]) => `${id} in ${KEY_FILE}`)]),
  );
});

/** The server has one word of its own, for an activity that is cancelled while it waits for its next attempt. */
const isServers = ({ data }: TemporalContent['payloads'][number]): boolean =>
  Buffer.from(data ?? []).toString() === '"ACTIVITY_ID_NOT_STARTED"';

/** Of an agent that was stopped for the keys: the server hands its last heartbeat on, with the timeout of that call. */
const isHeartbeatOfBefore = (payload: TemporalContent['payloads'][number]): boolean => {
  if (isEncrypted(payload) || !/^host\/.*lastHeartbeatDetails/.test(payload.place)) return false;
  const { heardAt } = defaultPayloadConverter.fromPayload<{ heardAt: string }>(payload);
  return new Date(heardAt) <= switchedOn;
};

/** Memos of workflows that ended before there were keys. */
const isOfBefore = (place: string, payloads: TemporalContent['payloads']): boolean => {
  if (!place.includes('/memo/')) return false;
  const id = place.slice(0, place.indexOf('/memo/'));
  return payloads.every((other) => !other.place.startsWith(`${id}/events/`) || other.time <= switchedOn);
};
