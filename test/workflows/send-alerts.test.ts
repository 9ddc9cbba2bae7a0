/** Alerts to a real HTTP server that is not always willing. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import type { Alert } from '../../activities/alerts.js';
import { skippedTime } from './skipped-time.js';

const time = skippedTime();

/** @param status of the answer to the n-th request, from 1. */
async function webhook(
  status: (request: number) => number,
): Promise<{ url: string; asked: () => number; taken: Alert[] }> {
  const taken: Alert[] = [];
  let asked = 0;
  const server = createServer((request, response) => {
    asked += 1;
    const code = status(asked);
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      if (code === 200) taken.push(JSON.parse(Buffer.concat(chunks).toString()) as Alert);
      response.writeHead(code).end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/hook?token=secret`, asked: () => asked, taken };
}

it('an alert that is answered with 503 is sent again until it is accepted', { timeout: 180_000 }, async () => {
  const { site, vault } = time.setUp();
  const hook = await webhook((request) => (request <= 2 ? 503 : 200));
  site.webhook = hook.url;
  await vault.run(async () => {
    const entity = await vault.protect('db-01');
    // Being protected is no trouble.
    expect(hook.asked()).toBe(0);
    site.fail('cutAndShip', 'StoreFull');
    await vault.until(entity, ({ item }) => item.alertedHealth === 'Warning' && hook.taken.length === 1, 5_000);
    site.heal('cutAndShip');
    await vault.until(entity, ({ item }) => item.alertedHealth === 'Normal' && hook.taken.length >= 2, 5_000);
    expect(hook.taken[0]).toMatchObject({
      vault: vault.vault,
      vm: 'db-01',
      from: 'Normal',
      to: 'Warning',
      reasons: [{ reason: 'StoreFull' }],
    });
    expect(Date.parse(hook.taken[0]!.at)).toBeGreaterThan(0);
    expect(hook.taken.at(-1)).toMatchObject({ to: 'Normal', reasons: [] });
    expect(hook.asked()).toBe(hook.taken.length + 2);
  });
});

it('a webhook that is unreachable gets the newest state when it is back, however long that takes', async () => {
  const { site, vault } = time.setUp();
  let away = true;
  const hook = await webhook(() => (away ? 500 : 200));
  site.webhook = hook.url;
  await vault.run(async () => {
    const entity = await vault.protect('db-02');
    await vault.until(entity, ({ item }) => (item.applied?.sequence ?? 0) >= 4, 60_000);
    site.fail('cutAndShip', 'DiskMissing');
    await vault.until(entity, ({ health }) => health === 'Critical', 60_000);
    await vault.pass(120);
    expect(hook.taken).toEqual([]);
    expect((await vault.view('db-02')).item.alertedHealth ?? 'Normal').toBe('Normal');
    // By the ladder: a webhook that is away for hours is not asked all the time.
    expect(hook.asked()).toBeLessThan(60);
    away = false;
    const { item } = await vault.until(entity, (view) => view.item.alertedHealth === 'Critical', 300_000);
    expect(hook.taken).toMatchObject([{ from: 'Normal', to: 'Critical' }]);
    expect(hook.taken[0]!.reasons[0]).toMatchObject({ reason: 'DiskMissing' });
    expect(item.phase).toBe('Protected');
  });
});
