/**
 * Gets both Temporal servers that the tests need, and says where they are: `node dist/tools/provision.js`. The first
 * run on a machine may download or build them; later runs find them in the cache folder. Ends with code 1 and a list of
 * what was tried if one of them cannot be had.
 */
import { messageOf } from '../temporal/server/ways.js';
import { findTemporalExecutable } from '../temporal/server/executables.js';
import { findTestServer } from '../temporal/server/test-server-executable.js';

const print = (line: string): void => void process.stdout.write(`${line}\n`);

try {
  // A configured TEMPORAL_ADDRESS does not count: the tests start and kill servers of their own.
  const server = await findTemporalExecutable({ onProgress: print });
  print(`Temporal server: ${server.path} (${server.from})`);
  const testServer = await findTestServer({ onProgress: print });
  print(`Time-skipping server: ${testServer.path} (${testServer.from})`);
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 1;
}
