/**
 * The rooms are kept apart by patterns in `.oxlintrc.json`, which are easy to get wrong unnoticed. Here each of them meets
 * imports that it must and must not allow, in a folder of its own that the real linter is run on.
 */
import { execFile } from 'node:child_process';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { temporaryFolder } from '../support/temporary-folder.js';

type Known = Readonly<Record<string, 'all' | 'types'>>;
// What is no TypeScript is read as it is run.
const { ROOMS } = (await import(resolve('.oxlint/rooms.js'))) as { ROOMS: Readonly<Record<string, Known>> };
const rooms = Object.keys(ROOMS);

/** Statements that a file of a room may hold, beside imports of the rooms that it knows. */
const ALLOWED: Record<string, readonly string[]> = {
  domain: [
    "import { z } from 'zod';",
    "import { z } from 'zod/v4';",
    "import { x } from './x.js';",
    'export const at = (ms: number) => new Date(ms).toISOString();',
    'export const smaller = Math.min(1, Date.parse("2026-01-01T00:00:00Z"));',
  ],
  disks: ["import { open } from 'node:fs/promises';", "import koffi from 'koffi';"],
  replication: ["import { crc32 } from 'node:zlib';", "import { x } from '@napi-rs/blake-hash';"],
  'sites/nbd': ["import { createServer } from 'node:net';", "import { x } from '../hypervisor/x.js';"],
  activities: ["import { Context } from '@temporalio/activity';", "import { x } from '@temporalio/common';"],
  workflows: [
    "import { sleep } from '@temporalio/workflow';",
    "import { ApplicationFailure } from '@temporalio/common';",
    "import { x } from './x.js';",
    'export const at = (ms: number) => new Date(ms).toISOString();',
  ],
  workers: ["import { Worker } from '@temporalio/worker';", "import { readFile } from 'node:fs/promises';"],
  'client/commands': [
    "import { Client } from '@temporalio/client';",
    "import { Command } from 'commander';",
    "import { readFile } from 'node:fs/promises';",
    "import { x } from '../output.js';",
  ],
  'client/demo': ["import { x } from '../../sites/nbd/x.js';"],
  test: ['export const now = [Date.now(), new Date()];'],
};

/** Statements that a file of a room must not hold, beside imports of the rooms that it does not know. */
const FORBIDDEN: Record<string, readonly string[]> = {
  domain: [
    "import type { Disk } from '../disks/disk.js';",
    "export { x } from '../disks/x.js';",
    "export const x = () => import('../disks/x.js');",
    "import { open } from 'node:fs/promises';",
    "import { createHash } from 'crypto';",
    "import { DateTime } from 'luxon';",
    "import { sleep } from '@temporalio/workflow';",
    'export const now = Date.now();',
    'export const now = new Date();',
    'export const now = Date();',
    'export const now = performance.now();',
    'export const chance = Math.random();',
    "export const variable = process.env['X'];",
  ],
  disks: ["import { ApplicationFailure } from '@temporalio/common';"],
  tracking: ["import { ApplicationFailure } from '@temporalio/common';"],
  replication: [
    "import type { Store } from '../sites/folder-store/folder-store.js';",
    "import { ApplicationFailure } from '@temporalio/common';",
  ],
  'sites/hypervisor': ["import { Context } from '@temporalio/activity';"],
  activities: [
    "import type { ProtectVm } from '../workflows/protect-vm.js';",
    "import { x } from '../sites/azure-store/replica-store.js';",
    "import { sleep } from '@temporalio/workflow';",
    "import { Client } from '@temporalio/client';",
    "import { Worker } from '@temporalio/worker';",
  ],
  workflows: [
    // This one would be loaded at run time although it imports nothing but a type.
    "import { type Activities } from '../activities/index.js';",
    "import { open } from 'node:fs/promises';",
    "import fs from 'fs';",
    "import path from 'path';",
    "import { createHash } from 'crypto';",
    "import { setTimeout } from 'timers/promises';",
    "import net from 'net';",
    "import { format } from 'node:util';",
    "import nodeFetch from 'node-fetch';",
    "import { z } from 'zodiac';",
    "import { Context } from '@temporalio/activity';",
    "import { Worker } from '@temporalio/worker';",
    "import { Client } from '@temporalio/client';",
    "import { BlobServiceClient } from '@azure/storage-blob';",
    "import { condition } from '@temporalio/workflow';",
    "import { condition as wait } from '@temporalio/workflow';",
    "import { allHandlersFinished } from '@temporalio/workflow';",
    "import { setHandler } from '@temporalio/workflow';",
    "import { upsertMemo } from '@temporalio/workflow';",
    "import { workflowInfo } from '@temporalio/workflow'; export const length = () => workflowInfo().historyLength;",
    "import { workflowInfo } from '@temporalio/workflow'; export const { historySize } = workflowInfo();",
    'export const now = Date.now();',
    'export const now = new Date();',
  ],
  'client/commands': [
    "import { protectVm } from '../../workflows/protect-vm.js';",
    "import { protectVm } from '../../workflows/index.js';",
    "import { Worker } from '@temporalio/worker';",
    "import { sleep } from '@temporalio/workflow';",
  ],
};

/** What client/ may import of workflows/, which it else knows nothing of. */
const fileOf = (room: string): string => (room === 'workflows' ? 'messages' : 'x');

for (const [room, known] of Object.entries(ROOMS)) {
  const one = (other: string, isType: boolean) =>
    `import ${isType ? 'type ' : ''}{ x } from '../${other}/${fileOf(other)}.js';`;
  const others = rooms.filter((other) => other !== room);
  ALLOWED[room] = [
    ...(ALLOWED[room] ?? []),
    ...others.filter((other) => known[other]).map((other) => one(other, true)),
    ...others.filter((other) => known[other] === 'all').map((other) => one(other, false)),
  ];
  FORBIDDEN[room] = [
    ...(FORBIDDEN[room] ?? []),
    ...others.filter((other) => !known[other]).map((other) => one(other, true)),
    ...others.filter((other) => known[other] !== 'all').map((other) => one(other, false)),
  ];
}

it('orders the rooms so that every import points down', () => {
  for (const [index, room] of rooms.entries()) {
    expect(rooms.slice(0, index), room).toEqual(expect.arrayContaining(Object.keys(ROOMS[room]!)));
  }
});

it('names every folder of the project that holds code', async () => {
  const { include } = JSON.parse(await readFile('tsconfig.json', 'utf8')) as { include: string[] };
  expect(include.filter((folder) => folder !== 'tools').toSorted()).toEqual(rooms.toSorted());
});

it('stops every room from importing forbidden rooms, and lets it import the others', async () => {
  const folder = await temporaryFolder();
  await cp('.oxlintrc.json', join(folder, '.oxlintrc.json'));
  await cp('.oxlint', join(folder, '.oxlint'), { recursive: true });
  const statements = new Map<string, string>();
  const write = async (cases: Record<string, readonly string[]>, kind: string): Promise<void> => {
    for (const [room, list] of Object.entries(cases)) {
      for (const [index, statement] of list.entries()) {
        const file = `${room}/${kind}-${index}.ts`;
        statements.set(file, `${room}: ${statement}`);
        await mkdir(dirname(join(folder, file)), { recursive: true });
        // What is imported must be used, or another rule objects.
        const used = /import (?:type )?(?:\{ (?:type )?(\w+) \}|(\w+)) from/.exec(statement);
        const name = used?.[1] ?? used?.[2];
        const use = statement.includes('type') ? `export type Use = ${name};` : `export const use = ${name};`;
        await writeFile(join(folder, file), `${statement}\n${name === undefined ? '' : use}\n`);
      }
    }
  };
  await write(ALLOWED, 'allowed');
  await write(FORBIDDEN, 'forbidden');

  // Another rule's objection would prove nothing about the rooms.
  const about = /no-restricted|no-clock|rooms|wrapped-only|no-import-type-side-effects/;
  const problems = (await lint(folder)).filter(({ code }) => about.test(code));
  const found = problems.map(({ filename }) => statements.get(filename));
  const forbidden = Object.entries(FORBIDDEN).flatMap(([room, list]) =>
    list.map((statement) => `${room}: ${statement}`),
  );
  expect(new Set(found)).toEqual(new Set(forbidden));
});

it('finds an import cycle', async () => {
  const folder = await temporaryFolder();
  await cp('.oxlintrc.json', join(folder, '.oxlintrc.json'));
  await cp('.oxlint', join(folder, '.oxlint'), { recursive: true });
  await mkdir(join(folder, 'disks'));
  await writeFile(join(folder, 'disks', 'a.ts'), "import { b } from './b.js';\nexport const a = (): number => b();\n");
  await writeFile(join(folder, 'disks', 'b.ts'), "import { a } from './a.js';\nexport const b = (): number => a();\n");
  const problems = await lint(folder);
  expect(problems.map(({ code }) => code)).toContain('import(no-cycle)');
});

interface Problem {
  readonly filename: string;
  readonly code: string;
}

async function lint(folder: string): Promise<readonly Problem[]> {
  const oxlint = resolve('node_modules/oxlint/bin/oxlint');
  const output = await new Promise<string>((done, reject) => {
    execFile(process.execPath, [oxlint, '--format=json'], { cwd: folder }, (error, stdout, stderr) => {
      // It ends with 1 if it found problems, which is what is hoped for.
      if (error && error.code !== 1) reject(new Error(stderr || error.message));
      else done(stdout);
    });
  });
  return (JSON.parse(output) as { diagnostics: readonly Problem[] }).diagnostics;
}
