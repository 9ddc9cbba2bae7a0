/** Programs that are run in a guest through its agent. */
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { GuestAgent } from '../../sites/hypervisor/guest-agent.js';
import { GuestAgentServer, type Unhelpful } from '../support/guest-agent.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const guest = { freeze: async () => undefined, thaw: async () => undefined };

async function agentOf(unhelpful: Unhelpful) {
  const socket = path.join(await temporaryFolder(), 'agent.sock');
  const server = await GuestAgentServer.listen(socket, guest, unhelpful);
  onTestFinished(() => server.close());
  const agent = await GuestAgent.connect(socket, performance.now() + 5_000);
  onTestFinished(() => agent.close());
  return { server, agent };
}

test('a program ends with its exit code and what it has printed last', async () => {
  const output = `${'x'.repeat(500)}the end\n`;
  const { server, agent } = await agentOf({ ran: { exitCode: 3, output, afterPolls: 2 } });
  const ran = await agent.run(['/bin/sh', '-c', 'exit 3'], performance.now() + 5_000);
  expect(server.programs).toEqual([['/bin/sh', '-c', 'exit 3']]);
  expect(ran.exitCode).toBe(3);
  expect(ran.output).toMatch(/x+the end$/);
  expect(ran.output.length).toBeLessThanOrEqual(200);
});

test('a program that does not end in time is given up', async () => {
  const { agent } = await agentOf({});
  await expect(agent.run(['sleep', '1000'], performance.now() + 500)).rejects.toThrow(/no answer to guest-exec-status/);
});
