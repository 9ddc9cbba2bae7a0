import { mkdir, readdir, readFile, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findDevServer, findTemporalExecutable } from '../../temporal/server/executables.js';
import { fakeExecutable } from '../support/fake-executable.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const CLI = 'echo "temporal version 9.9.9 (Server 1.29.1, UI 2.42.1)"';

/** An environment of its own: nothing on PATH but what a test puts into `bin`, and an empty cache. */
async function emptyMachine() {
  const folder = await temporaryFolder();
  const bin = join(folder, 'bin');
  const cache = join(folder, 'cache');
  const env: NodeJS.ProcessEnv = { PATH: bin, HOME: folder, FARSHORE_CACHE: cache };
  return { folder, bin, cache, env, cached: join(cache, 'bin', 'temporal') };
}

describe('findDevServer', () => {
  it('prefers the address that the environment names', async () => {
    const { bin, env } = await emptyMachine();
    await fakeExecutable(join(bin, 'temporal'), CLI);
    const found = await findDevServer({ env: { ...env, TEMPORAL_ADDRESS: 'temporal.example:7233' } });
    expect(found).toMatchObject({ kind: 'address', address: 'temporal.example:7233', namespace: undefined });
  });

  it('takes address, namespace and TLS from a profile', async () => {
    const { folder, env } = await emptyMachine();
    const file = join(folder, 'temporal.toml');
    const profile = ['[profile.recovery]', 'address = "temporal.example:7234"', 'namespace = "dr"', 'api_key = "k"'];
    await writeFile(file, profile.join('\n'));
    const found = await findDevServer({ env: { ...env, TEMPORAL_CONFIG_FILE: file, TEMPORAL_PROFILE: 'recovery' } });
    expect(found).toMatchObject({
      kind: 'address',
      address: 'temporal.example:7234',
      namespace: 'dr',
      connectionOptions: { apiKey: 'k', tls: true },
    });
  });

  it('refuses to fall back when the named profile has no address', async () => {
    const { folder, env } = await emptyMachine();
    const file = join(folder, 'temporal.toml');
    await writeFile(file, '[profile.default]\nnamespace = "dr"\n');
    const search = findDevServer({ env: { ...env, TEMPORAL_CONFIG_FILE: file } });
    await expect(search).rejects.toThrow('TEMPORAL_CONFIG_FILE is set, but names no Temporal address');
  });

  it("ignores the user's default profile, which was not requested", async () => {
    const { folder, bin, env } = await emptyMachine();
    await mkdir(join(folder, '.config', 'temporalio'), { recursive: true });
    await writeFile(
      join(folder, '.config', 'temporalio', 'temporal.toml'),
      '[profile.default]\naddress = "prod:7233"\n',
    );
    const path = await fakeExecutable(join(bin, 'temporal'), CLI);
    expect(await findDevServer({ env })).toMatchObject({ kind: 'executable', path });
  });
});

describe('findTemporalExecutable', () => {
  it('prefers temporal on PATH to the cached one', async () => {
    const { bin, cached, env } = await emptyMachine();
    const path = await fakeExecutable(join(bin, 'temporal'), CLI);
    await fakeExecutable(cached, CLI);
    expect(await findTemporalExecutable({ env })).toEqual({ kind: 'executable', path, from: 'temporal on PATH' });
  });

  it.each([
    ['too old', 'echo "temporal version 1.0.0 (Server 1.24.2, UI 2.28.0)"'],
    ['another program', 'echo "temporal: a calendar"'],
    ['broken', 'exit 3'],
  ])('passes over a temporal on PATH that is %s', async (_, script) => {
    const { bin, cached, env } = await emptyMachine();
    await fakeExecutable(join(bin, 'temporal'), script);
    await fakeExecutable(cached, CLI);
    expect(await findTemporalExecutable({ env })).toMatchObject({ path: cached });
  });

  it('keeps the executable that the Temporal SDK downloads, and finds it the next time', async () => {
    const { cache, cached, env } = await emptyMachine();
    // The SDK takes a file of this name for its finished download, starts it, and hands it over.
    const download = join(cache, 'sdk-download', `temporal-sdk-typescript-${await sdkVersion()}`);
    const { path: real } = await findTemporalExecutable();
    await mkdir(join(cache, 'sdk-download'), { recursive: true });
    await symlink(real, download);
    // Left by a process that was killed; the SDK would wait for it.
    await writeFile(`${download}.downloading`, '');
    const found = await findTemporalExecutable({ env });
    expect(found).toMatchObject({ path: cached, from: "the Temporal SDK's own download" });
    expect(await readdir(cache)).toEqual(['bin']);
    expect(await findTemporalExecutable({ env })).toMatchObject({ path: cached, from: /earlier run/ });
  });

  it('builds with go install, once for two callers at the same time, and leaves nothing else behind', async () => {
    const { folder, bin, cache, cached, env } = await emptyMachine();
    const calls = join(folder, 'calls');
    await fakeExecutable(
      join(bin, 'go'),
      `PATH=/usr/bin:/bin; echo "$@" >> ${calls}; sleep 1
       printf '#!/bin/sh\\n%s\\n' '${CLI}' > "$GOBIN/temporal"; chmod +x "$GOBIN/temporal"`,
    );
    const lines: string[] = [];
    const options = { env, onProgress: (line: string) => lines.push(line), downloadStallMs: 1 };
    const found = await Promise.all([findTemporalExecutable(options), findTemporalExecutable(options)]);
    expect(found.map(({ path }) => path)).toEqual([cached, cached]);
    expect(found.map(({ from }) => from)).toContain('installed by another process in the meantime');
    expect(await readFile(calls, 'utf8')).toBe('install github.com/temporalio/cli/cmd/temporal@v1.5.1\n');
    expect(lines.join('\n')).toMatch(/Building the Temporal server from source(.|\n)*three to six minutes/);
    expect(await readdir(cache)).toEqual(['bin']);
  });

  it('takes over the lock of a process that died, and replaces a cached executable that does not run', async () => {
    const { bin, cache, cached, env } = await emptyMachine();
    await fakeExecutable(cached, 'exit 1');
    const lock = join(cache, 'temporal.lock');
    await writeFile(lock, '');
    await utimes(lock, new Date(), new Date(Date.now() - 60_000));
    await fakeExecutable(
      join(bin, 'go'),
      `PATH=/usr/bin:/bin; printf '#!/bin/sh\\n%s\\n' '${CLI}' > "$GOBIN/temporal"; chmod +x "$GOBIN/temporal"`,
    );
    expect(await findTemporalExecutable({ env, downloadStallMs: 1 })).toMatchObject({
      path: cached,
      from: /go install/,
    });
  });

  it('lists every way, with why it failed and its remedy, if none works', async () => {
    const { bin, cache, cached, env } = await emptyMachine();
    await fakeExecutable(join(bin, 'temporal'), 'echo "temporal version 1.0.0 (Server 1.24.2, UI 2.28.0)"');
    await fakeExecutable(join(bin, 'go'), 'echo "go: no route to the module proxy" >&2; exit 1');
    const error = await findTemporalExecutable({ env, downloadStallMs: 1 }).catch((reason: unknown) => reason);
    const { message } = error as Error;
    expect(message).toContain('No Temporal server is available. Tried, in this order:');
    expect(message).toMatch(
      /1\. temporal on PATH: .*holds Temporal server 1\.24, but Farshore needs 1\.29 or newer\n.*→ /,
    );
    expect(message).toMatch(/2\. the one kept from an earlier run: there is no executable .*\n.*→ put an executable/);
    expect(message).toContain(cached);
    expect(message).toMatch(
      /3\. the Temporal SDK's own download: no data arrived for 0\.001 s.*\n.*→ give this machine/,
    );
    expect(message).toMatch(/4\. go install .*no route to the module proxy\n.*→ install Go/);
    expect(await readdir(cache)).toEqual([]);
  });
});

async function sdkVersion(): Promise<string> {
  const manifest = await readFile('node_modules/@temporalio/testing/package.json', 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}
