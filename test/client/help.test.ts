/** `help`, in this process: what it prints, and how it ends. */
import { CommanderError, type Command } from 'commander';
import { expect, test } from 'vitest';
import { program } from '../../client/program.js';

async function help(...names: string[]): Promise<{ out: string; err: string; exitCode: number }> {
  let [out, err] = ['', ''];
  const farshore = program();
  const listen = (command: Command): void => {
    command.configureOutput({ writeOut: (text) => (out += text), writeErr: (text) => (err += text) });
    for (const child of command.commands) listen(child);
  };
  listen(farshore);
  const error: unknown = await farshore
    .parseAsync(['help', ...names], { from: 'user' })
    .catch((thrown: unknown) => thrown);
  if (!(error instanceof CommanderError)) throw new Error('it has not ended');
  return { out, err, exitCode: error.exitCode };
}

test.each([
  [[], 'farshore [options] [command]'],
  [['vm'], 'farshore vm [options] [command]'],
  [['vm', 'start'], 'farshore vm start [options] <vm>'],
  [['status'], 'farshore status [options]'],
  [['help'], 'farshore help [options] [command...]'],
])('help %j shows the page of just that', async (names, usage) => {
  const { out, err, exitCode } = await help(...names);
  expect(out).toContain(`Usage: ${usage}`);
  expect(err).toBe('');
  expect(exitCode).toBe(0);
});

test.each([
  [['statsu'], "unknown command 'statsu'", 'Did you mean status?'],
  [['nosuch'], "unknown command 'nosuch'", '--help'],
  [['vm', 'strat'], "unknown command 'strat'", 'Did you mean start?'],
  [['status', 'vm'], "'farshore status' has no commands of its own, and so no 'vm'", '--help'],
])('help %j says what is unknown', async (names, problem, advice) => {
  const { out, err, exitCode } = await help(...names);
  expect(err).toContain(problem);
  expect(err).toContain(advice);
  expect(out).toBe('');
  expect(exitCode).not.toBe(0);
});
