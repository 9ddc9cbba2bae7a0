import { join } from 'node:path';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { findTemporalExecutable } from '../../temporal/server/executables.js';
import { startDevServer, type DevServer, type DevServerOptions } from '../../temporal/server/dev-server.js';

/**
 * Starts a real Temporal server with an empty database on free ports. `stop` also removes its files. A configured
 * `TEMPORAL_ADDRESS` is not used: tests stop their server, and leave things in it.
 */
export async function startTestDevServer(options: Partial<DevServerOptions> = {}): Promise<DevServer> {
  const { path: executable } = await findTemporalExecutable();
  const folder = await mkdtemp(join(tmpdir(), 'farshore-test-'));
  const files = { dbFile: join(folder, 'temporal.db'), logFile: join(folder, 'temporal.log') };
  const server = await startDevServer({ executable, ...files, ...options });
  return {
    ...server,
    async stop() {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
