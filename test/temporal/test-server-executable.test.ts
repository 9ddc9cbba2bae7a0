import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { findTestServer } from '../../temporal/server/test-server-executable.js';
import { fakeExecutable } from '../support/fake-executable.js';
import { temporaryFolder } from '../support/temporary-folder.js';

/** An environment of its own: nothing on PATH but what a test puts into `bin`, and an empty cache. */
async function emptyMachine() {
  const folder = await temporaryFolder();
  const bin = join(folder, 'bin');
  const cache = join(folder, 'cache');
  const env: NodeJS.ProcessEnv = { PATH: bin, HOME: folder, FARSHORE_CACHE: cache };
  const home = join(cache, 'temporal-test-server-1.38.0');
  return { folder, bin, cache, home, env, cached: join(home, 'temporal-test-server') };
}

/** Stands in for Maven: puts a library into the folder it is told to, as the real one does. */
const MAVEN = 'PATH=/usr/bin:/bin; test -f pom.xml && mkdir lib && echo jar > lib/temporal-test-server.jar';

describe('findTestServer', () => {
  it('prefers the executable that the environment names', async () => {
    const { folder, cached, env } = await emptyMachine();
    await fakeExecutable(cached, '');
    const path = await fakeExecutable(join(folder, 'mine'), '');
    const found = await findTestServer({ env: { ...env, TEMPORAL_TEST_SERVER: path } });
    expect(found).toEqual({ kind: 'executable', path, from: 'TEMPORAL_TEST_SERVER' });
  });

  it('refuses to fall back when the environment names no executable', async () => {
    const { env } = await emptyMachine();
    const search = findTestServer({ env: { ...env, TEMPORAL_TEST_SERVER: '/no/such/file' } });
    await expect(search).rejects.toThrow('TEMPORAL_TEST_SERVER names /no/such/file, which is not an executable file');
  });

  it('uses the executable kept from an earlier run', async () => {
    const { cached, env } = await emptyMachine();
    await fakeExecutable(cached, '');
    expect(await findTestServer({ env })).toMatchObject({ path: cached, from: /earlier run/ });
  });

  it('fetches the executable with Maven, once for two parallel callers, and replaces the shell by Java', async () => {
    const { folder, bin, cache, home, cached, env } = await emptyMachine();
    await fakeExecutable(join(bin, 'mvn'), MAVEN);
    // The wrapper itself needs dirname.
    await fakeExecutable(join(bin, 'dirname'), 'exec /usr/bin/dirname "$@"');
    const calls = join(folder, 'java-calls');
    // It archives its classes where it is told to.
    await fakeExecutable(
      join(bin, 'java'),
      `echo "$$ $@" >> ${calls}; case "$JAVA_TOOL_OPTIONS" in *AtExit=*) : > "\${JAVA_TOOL_OPTIONS##*=}";; esac`,
    );
    const options = { env, downloadStallMs: 1 };
    const found = await Promise.all([findTestServer(options), findTestServer(options)]);
    expect(found.map(({ path }) => path)).toEqual([cached, cached]);
    expect(found.map(({ from }) => from)).toContain('installed by another process in the meantime');
    expect(await readdir(cache)).toEqual(['temporal-test-server-1.38.0']);
    expect(await readdir(join(home, 'lib'))).toEqual(['temporal-test-server.jar']);
    // The next start takes over the classes that the first has archived.
    await promisify(execFile)(cached, ['7233'], { env });
    const started = (await readFile(calls, 'utf8')).trim().split('\n').at(-1)!;
    expect(started).toContain(`-XX:SharedArchiveFile=${join(home, 'classes.jsa')} `);
    expect(started).toMatch(/TestServer 7233$/);
    // Kept, but of no use once Java is gone.
    const withoutJava = findTestServer({ env: { ...env, JAVA_HOME: '/no/java' }, downloadStallMs: 1 });
    await expect(withoutJava).rejects.toThrow('it runs on Java, and there is no /no/java/bin/java');
  });

  it('lists every way, with why it failed and its remedy, if none works', async () => {
    const { env } = await emptyMachine();
    const error = await findTestServer({ env, downloadStallMs: 1 }).catch((reason: unknown) => reason);
    const { message } = error as Error;
    expect(message).toContain('No time-skipping Temporal server is available. Tried, in this order:');
    expect(message).toMatch(/1\. the one kept from an earlier run: there is no executable .*\n.*→ put an executable/);
    expect(message).toMatch(/2\. the Temporal SDK's own download: no data arrived.*\n.*→ give this machine/);
    expect(message).toMatch(/3\. Maven.*: mvn is not on PATH\n.*→ install Maven and Java/);
  });
});
