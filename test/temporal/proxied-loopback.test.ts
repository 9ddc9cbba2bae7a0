/** A machine whose environment names a proxy, as those of companies do. */
import { createServer, type AddressInfo } from 'node:net';
import { expect, onTestFinished, test, vi } from 'vitest';
import { connectTarget, connectTemporal } from '../../temporal/connection.js';
import { startTestDevServer } from '../support/dev-server.js';

test('servers on this machine are reached without the proxy that https_proxy names', async () => {
  let asked = 0;
  const proxy = createServer((socket) => {
    asked += 1;
    socket.on('error', () => undefined).destroy();
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void proxy.close());
  onTestFinished(() => void vi.unstubAllEnvs());
  for (const name of ['grpc_proxy', 'https_proxy', 'http_proxy'])
    vi.stubEnv(name, `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`);
  for (const name of ['no_grpc_proxy', 'no_proxy', 'NO_PROXY']) vi.stubEnv(name, undefined);
  const server = await startTestDevServer();
  onTestFinished(() => server.stop());
  const connection = await connectTemporal(connectTarget({ address: server.address }));
  await connection.workflowService.getSystemInfo({});
  await connection.close();
  expect(asked).toBe(0);
  // Another machine is reached by it.
  await expect(connectTemporal(connectTarget({ address: 'temporal.example:7233' }), 2_000)).rejects.toThrow();
  expect(asked).toBeGreaterThan(0);
});
