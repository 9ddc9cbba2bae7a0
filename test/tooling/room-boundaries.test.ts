/**
 * The rooms are kept apart by patterns in `.oxlintrc.json`, which are easy to get wrong unnoticed. Here each of them meets
 * imports that it must and must not allow, in a folder of its own that the real linter is run on.
 */
import { execFile } from 'node:child_process';
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { temporaryFolder } from '../support/temporary-folder.js';

const ROOMS = ['client', 'workers', 'workflows', 'activities', 'sites', 'replication', 'disks', 'domain'];

/** Statements that a file of a room may hold. */
const ALLOWED: Record<string, readonly string[]> = {
  domain: [
    "import { z } from 'zod';",
    "import { z } from 'zod/v4';",
    "import { x } from './x.js';",
    'export const at = (ms: number) => new Date(ms).toISOString();',
    'export const smaller = Math.min(1, Date.parse("2026-01-01T00:00:00Z"));',
  ],
  disks: [
    "import { x } from '../domain/x.js';",
    "import { open } from 'node:fs/promises';",
    "import koffi from 'koffi';",
  ],
  replication: [
    "import { x } from '../domain/x.js';",
    "import { x } from '../disks/x.js';",
    "import type { Hypervisor } from '../sites/ports.js';",
    "export type { Hypervisor } from '../sites/ports.js';",
    "import { crc32 } from 'node:zlib';",
    "import { x } from '@napi-rs/blake-hash';",
  ],
  'sites/embedded': [
    "import { x } from '../../replication/x.js';",
    "import { x } from '../../disks/x.js';",
    "import { x } from '../../domain/x.js';",
    "import type { Hypervisor } from '../ports.js';",
    "import { createServer } from 'node:net';",
  ],
  activities: [
    "import { x } from '../domain/x.js';",
    "import { x } from '../replication/x.js';",
    "import { x } from '../disks/x.js';",
    "import type { Hypervisor } from '../sites/ports.js';",
    "import { Context } from '@temporalio/activity';",
    "import { ApplicationFailure } from '@temporalio/common';",
  ],
  workflows: [
    "import { x } from '../domain/x.js';",
    "import type { Activities } from '../activities/index.js';",
    "import { sleep } from '@temporalio/workflow';",
    "import { ApplicationFailure } from '@temporalio/common';",
    "import { x } from './x.js';",
  ],
  workers: [
    ...ROOMS.filter((room) => room !== 'client').map((room) => `import { x } from '../${room}/x.js';`),
    "import { Worker } from '@temporalio/worker';",
    "import { readFile } from 'node:fs/promises';",
  ],
  'client/commands': [
    "import { x } from '../../domain/x.js';",
    "import { x } from '../../workers/x.js';",
    "import { x } from '../../workflows/messages.js';",
    "import { Client } from '@temporalio/client';",
    "import { Command } from 'commander';",
    "import { readFile } from 'node:fs/promises';",
    "import { x } from '../output.js';",
  ],
  test: [
    ...ROOMS.map((room) => `import { x } from '../${room}/x.js';`),
    'export const now = [Date.now(), new Date()];',
  ],
};

/** Statements that a file of a room must not hold. */
const FORBIDDEN: Record<string, readonly string[]> = {
  domain: [
    ...ROOMS.filter((room) => room !== 'domain').map((room) => `import { x } from '../${room}/x.js';`),
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
  disks: [
    ...ROOMS.filter((room) => !['domain', 'disks'].includes(room)).map(
      (room) => `import { x } from '../${room}/x.js';`,
    ),
    "import type { Hypervisor } from '../sites/ports.js';",
    "import { ApplicationFailure } from '@temporalio/common';",
  ],
  replication: [
    ...['client', 'workers', 'workflows', 'activities'].map((room) => `import { x } from '../${room}/x.js';`),
    "import { Hypervisor } from '../sites/ports.js';",
    "import type { Store } from '../sites/embedded/replica-store.js';",
    "import { x } from '../sites/port-numbers.js';",
    "import { ApplicationFailure } from '@temporalio/common';",
  ],
  'sites/embedded': [
    ...['client', 'workers', 'workflows', 'activities'].map((room) => `import { x } from '../../${room}/x.js';`),
    "import { Context } from '@temporalio/activity';",
  ],
  activities: [
    ...['client', 'workers', 'workflows'].map((room) => `import { x } from '../${room}/x.js';`),
    "import type { ProtectVm } from '../workflows/protect-vm.js';",
    "import { Hypervisor } from '../sites/ports.js';",
    "import { x } from '../sites/azure/replica-store.js';",
    "import { sleep } from '@temporalio/workflow';",
    "import { Client } from '@temporalio/client';",
    "import { Worker } from '@temporalio/worker';",
  ],
  workflows: [
    ...['client', 'workers', 'sites', 'replication', 'disks'].map(
      (room) => `import type { x } from '../${room}/x.js';`,
    ),
    "import { createActivities } from '../activities/index.js';",
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
  ],
  workers: ["import { x } from '../client/x.js';"],
  'client/commands': [
    ...['activities', 'sites', 'replication', 'disks'].map((room) => `import type { x } from '../../${room}/x.js';`),
    "import { protectVm } from '../../workflows/protect-vm.js';",
    "import { protectVm } from '../../workflows/index.js';",
    "import { Worker } from '@temporalio/worker';",
    "import { sleep } from '@temporalio/workflow';",
  ],
};

it('keeps every room from importing what it must not, and lets it import the rest', async () => {
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
  const about = /no-restricted|no-clock|no-import-type-side-effects/;
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
