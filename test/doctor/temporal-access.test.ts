/** What doctor says of who else may use Temporal. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { temporalAccess } from '../../doctor/temporal-access.js';
import { connectTarget } from '../../temporal/connection.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const services = ['root:x:0:0:root:/root:/bin/bash', 'www-data:x:33:33::/var/www:/usr/sbin/nologin'];
const nobody = 'nobody:x:65534:65534::/nonexistent:/bin/sh';
const own = `me:x:${process.getuid!()}:0::/home/me:/bin/bash`;
let accounts: string;
beforeEach(async () => {
  accounts = path.join(await temporaryFolder(), 'passwd');
});

async function said(address: string, people: string[], connectionOptions = {}) {
  await writeFile(accounts, [...services, nobody, own, ...people].join('\n'));
  return await temporalAccess({ ...connectTarget({ address }), connectionOptions }, accounts);
}

test('a server on loopback without authentication is open to every account of the machine', async () => {
  expect(await said('127.0.0.1:7233', [])).toMatchObject({
    status: 'ok',
    message: expect.stringMatching(/does not authenticate its clients, but no other user can log in/) as string,
  });
  const people = ['eve:x:1001:1001::/home/eve:/bin/bash', 'mallory:x:1002:1002::/home/mallory:/bin/zsh'];
  expect(await said('localhost:7233', people)).toMatchObject({
    status: 'warning',
    message: expect.stringMatching(/eve and 1 other may do everything that Farshore can/) as string,
    remedy: expect.stringMatching(/docs\/security\.md/) as string,
  });
});

test('a server on another machine is reported if there is no client authentication', async () => {
  expect(await said('temporal.example:7233', [])).toMatchObject({ status: 'warning' });
  expect(await said('temporal.example:7233', [], { tls: true })).toMatchObject({ status: 'warning' });
  expect(await said('temporal.example:7233', [], { apiKey: 'k' })).toMatchObject({ status: 'ok' });
  const tls = { clientCertPair: { crt: Buffer.alloc(1), key: Buffer.alloc(1) } };
  expect(await said('temporal.example:7233', [], { tls })).toMatchObject({ status: 'ok' });
});
