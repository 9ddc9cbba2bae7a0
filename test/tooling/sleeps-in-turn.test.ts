import { setTimeout as pause } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { sleepsInTurn } from '../support/sleeps-in-turn.js';

it('runs one sleep at a time, shared by callers that wait for the same time, also after one has failed', async () => {
  const log: string[] = [];
  const sleep = sleepsInTurn(async (duration: number) => {
    log.push(`${duration} begins`);
    await pause(1);
    log.push(`${duration} ends`);
    if (duration === 2) throw new Error('no answer');
  });
  const first = sleep(1);
  await Promise.resolve();
  const slept = await Promise.allSettled([first, sleep(1), sleep(2), sleep(1), sleep(3)]);
  expect(slept.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
  expect(log).toEqual([1, 1, 2, 3].flatMap((duration) => [`${duration} begins`, `${duration} ends`]));
});
