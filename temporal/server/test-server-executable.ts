/**
 * Finds the time-skipping server for the workflow tests, in which a day passes in a moment. It is published with
 * Temporal's Java SDK, as a native executable and as a library.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { chmod, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { answersTcp } from './answers-tcp.js';
import { cacheFolder } from './cache-folder.js';
import { freePorts } from './free-port.js';
import { withInstallLock } from './install-lock.js';
import { executableName, findOnPath, isExecutable, runCommand } from './run-command.js';
import { downloadWithSdk } from './sdk-download.js';
import { INSTALLED_MEANWHILE, firstWayThatWorks, type FoundExecutable, type Way } from './ways.js';
import type { FindOptions, ServerExecutable } from './executables.js';

/** The version fetched through Maven; its server has the same name as the SDK's native executable. */
const MAVEN_VERSION = '1.38.0';
/** Milliseconds that Maven may take; it takes about ten seconds. */
const MAVEN_TIMEOUT_MS = 5 * 60_000;

/** Fetches the server with its dependencies; slf4j-nop prevents warnings of its logging library. */
const POM = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>farshore</groupId>
  <artifactId>test-server</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>io.temporal</groupId>
      <artifactId>temporal-test-server</artifactId>
      <version>${MAVEN_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-nop</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
`;

/** An archive of the server's loaded classes: starting with it takes a third of the time. */
const ARCHIVE = 'classes.jsa';
/** Time after which a first start has loaded its classes and written the archive, ms. */
const ARCHIVE_TIMEOUT_MS = 60_000;

/**
 * Starts the server on the port given as the only argument. The SDK stops a server by the id of the process it started,
 * so Java must replace the shell. Time skipping is off until a client turns it on, which the SDK's test environment
 * does while it awaits a result: with `--enable-time-skipping`, time would pass before a test can act.
 */
const WRAPPER = `#!/bin/sh
home="$(dirname "$0")"
archive="$home/${ARCHIVE}"
set -- -cp "$home/lib/*" io.temporal.testserver.TestServer "$@"
if [ -f "$archive" ]; then set -- "-XX:SharedArchiveFile=$archive" "$@"; fi
exec "\${JAVA_HOME:+$JAVA_HOME/bin/}java" -XX:+IgnoreUnrecognizedVMOptions -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "$@"
`;

/**
 * An executable of the time-skipping server, for `TestWorkflowEnvironment.createTimeSkipping` as `{ type:
 * 'existing-path', path }`: the one that `TEMPORAL_TEST_SERVER` names, the one in the cache folder, the Temporal SDK's
 * own download, or the library fetched by Maven. Throws `ProvisioningError` with a list of the attempts, and a plain
 * error if `TEMPORAL_TEST_SERVER` names no executable.
 */
export async function findTestServer(options: FindOptions = {}): Promise<ServerExecutable> {
  const { env = process.env, onProgress = () => {}, downloadStallMs = 20_000 } = options;
  const named = env['TEMPORAL_TEST_SERVER'];
  if (named) {
    if (await isExecutable(named)) return { kind: 'executable', path: named, from: 'TEMPORAL_TEST_SERVER' };
    throw new Error(
      `TEMPORAL_TEST_SERVER names ${named}, which is not an executable file. Correct the variable, or unset it.`,
    );
  }
  const cache = cacheFolder(env);
  const home = join(cache, `temporal-test-server-${MAVEN_VERSION}`);
  const cached = join(home, executableName('temporal-test-server'));
  const install = (fetch: () => Promise<string>): Promise<FoundExecutable> =>
    withInstallLock(cache, 'temporal-test-server', onProgress, async () => {
      const problem = await problemWith(home, cached, env);
      if (problem === undefined) return { path: cached, from: INSTALLED_MEANWHILE };
      const folder = await fetch();
      // The existing folder is unusable, and renaming to its name requires that the name is free.
      await rm(home, { recursive: true, force: true });
      await rename(folder, home);
      // Java accepts the archive only at the path where it was created.
      if ((await readdir(home)).includes('lib')) await archiveClasses(home, cached, env);
      return { path: cached };
    });

  const ways: Way[] = [
    {
      name: 'the one kept from an earlier run',
      remedy: `put an executable time-skipping server at ${cached}, or set TEMPORAL_TEST_SERVER to its path`,
      find: async () => {
        const problem = await problemWith(home, cached, env);
        if (problem !== undefined) throw new Error(problem);
        return { path: cached };
      },
    },
    {
      name: "the Temporal SDK's own download",
      remedy: 'give this machine HTTPS access to the internet',
      find: () =>
        install(async () => {
          onProgress('Downloading the time-skipping server with the Temporal SDK.');
          const folder = join(cache, 'sdk-download-test-server');
          const kind = 'time-skipping';
          const path = await downloadWithSdk({ kind, folder, env, onProgress, stallMs: downloadStallMs });
          await rename(path, join(folder, executableName('temporal-test-server')));
          return folder;
        }),
    },
    {
      name: `Maven, io.temporal:temporal-test-server:${MAVEN_VERSION}`,
      remedy: "install Maven and Java 8 or newer, with access to Maven's repository",
      find: async () => {
        if (process.platform === 'win32') throw new Error('its start script needs a POSIX shell');
        const mvn = await findOnPath('mvn', env);
        if (mvn === undefined) throw new Error('mvn is not on PATH');
        const problem = await problemWithJava(env);
        if (problem !== undefined) throw new Error(problem);
        return install(() => fetchWithMaven(mvn, cache, env, onProgress));
      },
    },
  ];
  return { kind: 'executable', ...(await firstWayThatWorks('time-skipping Temporal server', ways)) };
}

/** Fetches the server's libraries and writes its start script into a new folder, which is returned. */
async function fetchWithMaven(
  mvn: string,
  cache: string,
  env: NodeJS.ProcessEnv,
  onProgress: (line: string) => void,
): Promise<string> {
  onProgress('Fetching the time-skipping server with Maven.');
  const folder = await mkdtemp(join(cache, 'maven-'));
  try {
    await writeFile(join(folder, 'pom.xml'), POM);
    const goal = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies';
    await runCommand(mvn, ['-B', '-q', goal, '-DincludeScope=runtime', '-DoutputDirectory=lib'], {
      env,
      cwd: folder,
      timeoutMs: MAVEN_TIMEOUT_MS,
      onElapsed: (seconds) => onProgress(`  fetching, ${seconds} s so far`),
    });
    const wrapper = join(folder, 'temporal-test-server');
    await writeFile(wrapper, WRAPPER);
    await chmod(wrapper, 0o755);
    // Without arguments, it prints its usage and ends, which proves that Java runs and nothing is missing.
    await runCommand(wrapper, [], { env, timeoutMs: 30_000 });
    return folder;
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** The server also starts without the archive, but so slowly that a busy machine may not wait for it. */
async function archiveClasses(home: string, server: string, env: NodeJS.ProcessEnv): Promise<void> {
  const archive = join(home, ARCHIVE);
  const [port] = await freePorts(1);
  const options = `-XX:+IgnoreUnrecognizedVMOptions -XX:ArchiveClassesAtExit=${archive}.new`;
  const java = spawn(server, [String(port)], { env: { ...env, JAVA_TOOL_OPTIONS: options }, stdio: 'ignore' });
  let over = false;
  const ended = once(java, 'close').finally(() => (over = true));
  // The failure is handled below.
  ended.catch(() => undefined);
  const timeout = setTimeout(() => java.kill('SIGKILL'), ARCHIVE_TIMEOUT_MS);
  try {
    while (!over && !(await answersTcp(`127.0.0.1:${port}`))) await sleep(100);
    java.kill('SIGTERM');
    await ended;
    await rename(`${archive}.new`, archive);
  } catch {
    // An older Java does not support such archives.
    await rm(`${archive}.new`, { force: true });
  } finally {
    clearTimeout(timeout);
  }
}

/** Why the server in a folder cannot be run; undefined if it can. */
async function problemWith(home: string, path: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  if (!(await isExecutable(path))) return `there is no executable ${path}`;
  // Only the one fetched by Maven needs Java: the SDK's download is a native executable.
  return (await readdir(home)).includes('lib') ? problemWithJava(env) : undefined;
}

async function problemWithJava(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const java = env['JAVA_HOME'] ? join(env['JAVA_HOME'], 'bin', 'java') : await findOnPath('java', env);
  if (java !== undefined && (await isExecutable(java))) return undefined;
  return `it runs on Java, and there is no ${java ?? 'program java on PATH'}`;
}
