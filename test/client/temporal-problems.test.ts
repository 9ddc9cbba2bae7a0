/** A Temporal that can't be used: every command says what is wrong, where that was configured, and what to do. */
import { createServer as createHttp } from 'node:http';
import { createSecureServer } from 'node:http2';
import { createServer as createTcp, type AddressInfo, type Server } from 'node:net';
import path from 'node:path';
import { Connection } from '@temporalio/client';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import type { DevServer } from '../../temporal/server/dev-server.js';
import { addSearchAttributes, ensureSearchAttributes } from '../../temporal/search-attributes.js';
import { searchAttributeTypes } from '../../workflows/search-attributes.js';
import { startTestDevServer } from '../support/dev-server.js';
import { startGrpcServer, textField } from '../support/grpc-server.js';
import { selfSignedCertificate, selfSignedKey } from '../support/self-signed.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { Shell, makeSite, type Outcome } from './command.js';

let shell: Shell;
beforeEach(async () => {
  shell = new Shell(await temporaryFolder());
  await makeSite(shell);
});

const configured = (env: NodeJS.ProcessEnv) => new Shell(shell.folder, env);
const worker = ['worker', '--role', 'host', '--name', 'h1'];

function expectProblem({ code, stdout, stderr }: Outcome, expected: { code: number; problem: RegExp }): void {
  expect(stderr).toMatch(expected.problem);
  expect({ code, stdout }).toEqual({ code: expected.code, stdout: '' });
  expect(stderr.match(/^farshore: /gm)).toHaveLength(1);
  expect(stderr).not.toMatch(/^ +at /m);
}

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe('something other than the intended server answers', () => {
  test('nothing answers: configured by a variable, by a profile, and for a worker', async () => {
    const problem = (by: string) =>
      new RegExp(
        `^farshore: Temporal does not answer at 127\\.0\\.0\\.1:1: no process listens there \\(configured by ${by}\\)\n {2}Remedy: start it .*, or correct the address`,
        'm',
      );
    await shell.write('temporal.toml', '[profile.lab]\naddress = "127.0.0.1:1"\n');
    const byVariable = configured({ TEMPORAL_ADDRESS: '127.0.0.1:1' });
    const byProfile = configured({ TEMPORAL_PROFILE: 'lab', TEMPORAL_CONFIG_FILE: 'temporal.toml' });
    const variable = problem('the environment variable TEMPORAL_ADDRESS');
    const [status, profile, work, up] = await Promise.all([
      byVariable.runLoaded('status'),
      byProfile.runAlone('vm', 'list'),
      byVariable.run(...worker),
      byVariable.run('up'),
    ]);
    expectProblem(status, { code: 5, problem: variable });
    expectProblem(profile, { code: 5, problem: problem('the profile lab of .*temporal\\.toml') });
    expect(work.code).toBe(5);
    expect(work.stderr).toMatch(variable);
    expect(up.code).toBe(5);
    expect(up.stderr).toMatch(variable);
  });

  test('a machine with an unknown name', async () => {
    const outcome = await configured({ TEMPORAL_ADDRESS: 'nowhere.invalid:7233' }).run('status');
    expectProblem(outcome, { code: 5, problem: /nowhere\.invalid:7233: the host name cannot be resolved/ });
  });

  test('an invalid port', async () => {
    const outcome = await configured({ TEMPORAL_ADDRESS: '127.0.0.1:99999' }).run('status');
    expectProblem(outcome, { code: 3, problem: /127\.0\.0\.1:99999 is not an address of a Temporal server/ });
  });

  test('a profile that is not valid TOML, of which no line is shown', async () => {
    await shell.write('broken.toml', '[profile.default]\naddress = "127.0.0.1:1"\napi_key = not-to-be-shown\n');
    const outcome = await configured({ TEMPORAL_CONFIG_FILE: 'broken.toml' }).run('status');
    expectProblem(outcome, { code: 3, problem: /TEMPORAL_CONFIG_FILE names cannot be used: Invalid TOML document/ });
    expect(outcome.stderr).not.toContain('not-to-be-shown');
  });

  test('an invalid address', async () => {
    const outcome = await configured({ TEMPORAL_ADDRESS: 'a:b:c' }).run('status');
    expectProblem(outcome, { code: 3, problem: /a:b:c is not an address .* TEMPORAL_ADDRESS\)\n.*host:port/ });
  });

  test('a web server, TLS without being configured and the reverse, an unknown certificate, and silence', async () => {
    await shell.write('cert.pem', selfSignedCertificate);
    const file = path.join(shell.folder, 'cert.pem');
    const own = { key: selfSignedKey, cert: selfSignedCertificate, allowHTTP1: true };
    const web = await listening(createHttp((_, answer) => answer.end('hello')));
    const secure = await listening(createSecureServer(own) as unknown as Server);
    const silent = await listening(createTcp(() => undefined));
    const port = secure.split(':')[1]!;
    const cases: [env: NodeJS.ProcessEnv, code: number, problem: RegExp][] = [
      [{ TEMPORAL_ADDRESS: web }, 3, /is not a Temporal server \(.*\n {2}Remedy: .*not that of the Web UI/],
      [
        { TEMPORAL_ADDRESS: secure },
        3,
        /requires TLS, but the connection is configured without .*\n.*TEMPORAL_TLS=true/,
      ],
      [{ TEMPORAL_ADDRESS: web, TEMPORAL_TLS: 'true' }, 3, /does not support TLS, but .*\n.*TEMPORAL_TLS=false/],
      [
        { TEMPORAL_ADDRESS: web, TEMPORAL_API_KEY: 'secret' },
        3,
        /does not support TLS.*\n.*an API key also turns TLS on/,
      ],
      [
        { TEMPORAL_ADDRESS: `localhost:${port}`, TEMPORAL_TLS: 'true' },
        3,
        /No secure connection .*self-signed.*\n.*TEMPORAL_TLS_SERVER_CA_CERT_PATH/,
      ],
      [
        { TEMPORAL_ADDRESS: secure, TEMPORAL_TLS_SERVER_CA_CERT_PATH: file, TEMPORAL_TLS_SERVER_NAME: 'other' },
        3,
        /No secure connection .*other/,
      ],
      [{ TEMPORAL_ADDRESS: silent }, 5, /does not answer at .*: a process accepts the connection but does not reply/],
    ];
    const outcomes = await Promise.all(cases.map(([env]) => configured(env).runAlone('status')));
    for (const [index, [env, code, problem]] of cases.entries()) {
      expectProblem(outcomes[index]!, { code, problem });
      expect(outcomes[index]!.stderr).not.toContain('secret');
      expect(outcomes[index]!.stderr).toContain(env['TEMPORAL_ADDRESS']);
    }
  });

  test('a server that is too old, one of another kind, and one that refuses the credentials', async () => {
    const old = await startGrpcServer(() => ({ body: textField('1.20.4') }));
    const other = await startGrpcServer(() => ({ status: 12, message: 'unknown service' }));
    const strict = await startGrpcServer(() => ({ status: 16, message: 'token has expired' }));
    const denying = await startGrpcServer(() => ({ status: 7, message: 'not for you' }));
    const cases: [address: string, code: number, problem: RegExp][] = [
      [old, 3, /is version 1\.20\.4, but Farshore needs 1\.29 or newer \(.*TEMPORAL_ADDRESS\)\n {2}Remedy: upgrade/],
      [other, 3, /is not a Temporal server/],
      [strict, 3, /rejected the credentials: token has expired \(.*\n {2}Remedy: .*TEMPORAL_API_KEY/],
      [denying, 3, /refused the request in the namespace farshore: not for you \(/],
    ];
    const started = Promise.all(cases.map(([address]) => configured({ TEMPORAL_ADDRESS: address }).run(...worker)));
    for (const [index, [address, code, problem]] of cases.entries()) {
      expectProblem(await configured({ TEMPORAL_ADDRESS: address }).runLoaded('status'), { code, problem });
      expect((await started)[index]!.code).toBe(code);
      expect((await started)[index]!.stderr).toMatch(problem);
    }
  });

  test.each(['TEMPORAL_TLS_CLIENT_CERT_PATH', 'TEMPORAL_CONFIG_FILE'])('a missing file: %s', async (name) => {
    const env = { TEMPORAL_ADDRESS: '127.0.0.1:1', [name]: 'none.pem' };
    const problem = new RegExp(`${name} names none\\.pem: the file does not exist\\. Correct the variable`);
    expectProblem(await configured(env).runLoaded('status'), { code: 3, problem });
  });

  test('an API key that was copied with additional text, and is not shown', async () => {
    for (const key of ['se cret', 'sécret', 'secret\nsecret']) {
      const outcome = await configured({ TEMPORAL_ADDRESS: '127.0.0.1:1', TEMPORAL_API_KEY: key }).runLoaded('status');
      expectProblem(outcome, {
        code: 3,
        problem: /API key that the environment variable TEMPORAL_API_KEY gives contains a/,
      });
      expect(outcome.stderr).not.toContain('cret');
    }
  });
});

describe('a server that is not prepared', () => {
  let server: DevServer;
  let connection: Connection;
  beforeAll(async () => {
    server = await startTestDevServer();
    connection = await Connection.connect({ address: server.address });
  });
  afterAll(async () => {
    await connection.close();
    await server.stop();
  });
  const inNamespace = (namespace: string) =>
    configured({ TEMPORAL_ADDRESS: server.address, TEMPORAL_NAMESPACE: namespace });

  test.each([['status'], ['job', 'list'], ['protect', 'web-01', '--wait'], worker])(
    'without the namespace: %s %s',
    async (...args) => {
      const { code, stdout, stderr } = await inNamespace('nowhere').run(...args);
      expect({ code, stdout }).toEqual({ code: 3, stdout: '' });
      expect(stderr).toMatch(
        /has no namespace nowhere \(configured by the environment variable TEMPORAL_NAMESPACE\)\n {2}Remedy: create it with `farshore prepare`, or with temporal operator namespace create --address \S+ --namespace nowhere --retention 90d/,
      );
    },
  );

  test('without search attributes, then with one of another type', async () => {
    const lacking = inNamespace('farshore');
    for (const args of [['status'], worker]) {
      const { code, stderr } = await lacking.run(...args);
      expect(code).toBe(3);
      expect(stderr).toMatch(/namespace farshore lacks the search attributes FarshoreVault, .*FarshoreRpoSeconds/);
      expect(stderr).toMatch(
        /create them with `farshore prepare`, or with .*search-attribute create --address \S+ --namespace farshore --name FarshoreVault --type Keyword .*Int$/m,
      );
    }
    await addSearchAttributes(connection, 'farshore', { FarshoreVm: 'Int' });
    const mistyped = await lacking.runLoaded('status');
    expectProblem(mistyped, {
      code: 3,
      problem: /attribute FarshoreVm of the namespace farshore has type Int, but needs type Keyword/,
    });
    const up = await lacking.run('up');
    expect(up.code).toBe(3);
    expect(up.stderr).toMatch(/attribute FarshoreVm of the namespace farshore has type Int/);
  });

  test('with a retention of a day: it is reported but prevents nothing', async () => {
    await ensureSearchAttributes(connection, 'default', searchAttributeTypes);
    await EmbeddedReplicaStore.open(path.join(shell.folder, 'vault'), { create: true }).then((store) => store.close());
    const { code, value, stderr } = await inNamespace('default').json('status');
    expect({ code, value }).toMatchObject({ code: 0, value: { health: 'Normal' } });
    expect(stderr).toMatch(
      /^Note: The namespace default keeps jobs and plan runs for only 1 d; .* TEMPORAL_NAMESPACE\)\n {2}Remedy: temporal operator namespace update --address \S+ --namespace default --retention 90d/m,
    );
  });
});
