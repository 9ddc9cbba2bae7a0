/**
 * What an operator sees in the Temporal Web UI, in a real browser against a real instance: the saved queries find what they
 * say, and the pages of VMs and jobs tell phase, health and tasks. With FARSHORE_SCREENSHOTS it leaves docs/images.
 */
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Job } from '../../domain/job.js';
import { MiB, Shell } from '../client/command.js';
import { browserPage } from '../support/browser.js';
import { farWindow } from '../support/far-window.js';
import { requireReader } from '../support/readers.js';

const SCREENSHOTS = process.env['FARSHORE_SCREENSHOTS'] ? path.resolve('docs/images') : undefined;
const REST_MS = 1_000;
/** What is copied for as long as the tests take; what is copied before it is a known share. */
const LARGE_DISK = 448 * MiB;
const SMALL_DISK = 64 * MiB;

const vm = (name: string, host: string, disks = [name]) =>
  `  - { name: ${name}, host: ${host}, policy: fast, disks: [${disks.map((disk) => `{ name: ${disk}, path: disks/${disk}.raw }`).join(', ')}] }\n`;
const siteYaml = `vault: { name: vault-01, store: { kind: embedded, path: store } }
vmmServers:
  - name: vmm-01
    clouds: [{ name: production, hosts: [{ name: hv-01 }, { name: hv-02, bandwidth: { limit: 24 Mbit/s } }] }]
policies: [{ name: fast, copyFrequency: 30s, resynchronizationWindow: ${JSON.stringify(farWindow())} }]
vms:
${vm('db-01', 'hv-01')}${vm('web-01', 'hv-01')}${vm('app-01', 'hv-01')}${vm('files-01', 'hv-02', ['files', 'archive'])}`;

let shell: Shell;
let copying: string;
let failing: string;

/** As an operator would choose them in the page: kept by the browser, too. */
const COLUMNS = ['FarshoreHealth', 'FarshoreJobState', 'FarshorePhase', 'Workflow ID'];
const KEPT = JSON.stringify({ farshore: COLUMNS.map((label) => ({ label })) });
const keepColumns = `localStorage.setItem('namespace-workflow-table-columns', ${JSON.stringify(KEPT)})`;

/** For the browser. */
const CELLS_CUT_OFF = `[...document.querySelectorAll('tbody td')]
  .flatMap((cell) => [...cell.querySelectorAll('a, p, span'), cell])
  .flatMap((one) => [...one.childNodes].filter(({ nodeType, data }) => nodeType === Node.TEXT_NODE && data.trim() !== ''))
  .map((text) => {
    const range = document.createRange();
    range.selectNodeContents(text);
    return { text: text.data, right: range.getBoundingClientRect().right };
  })
  .filter(({ right }) => right > document.querySelector('table').parentElement.getBoundingClientRect().right)
  .map(({ text }) => text)`;
const TEXTS_CUT_OFF = `[...document.querySelectorAll('main *')]
  .filter((one) => one.textContent.trim() !== '')
  .filter((one) => one.getBoundingClientRect().bottom > innerHeight || one.getBoundingClientRect().right > innerWidth)
  .map((one) => one.textContent)`;

/** Where the command leads to. */
const address = async (...args: string[]): Promise<string> => {
  const { code, stdout, stderr } = await shell.run('open', ...args, '--print');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout.trim();
};
/** The id of a VM's job of a kind, once that is so far. */
const jobThat = (name: string, kind: string, isSo: (job: Job) => boolean): Promise<string> =>
  vi.waitFor(
    async () => {
      const jobs = ((await shell.json('job', 'list')).value as { jobs: Job[] }).jobs;
      const found = jobs.find((job) => job.vm === name && job.kind === kind && isSo(job));
      if (!found) throw new Error(`${name} is not so far: ${JSON.stringify(jobs)}`);
      return found.id;
    },
    { timeout: 60_000, interval: 200 },
  );

beforeAll(async () => {
  shell = new Shell(await mkdtemp(path.join(tmpdir(), 'farshore-ui-')));
  await shell.write('site.yaml', siteYaml);
  for (const name of ['db-01', 'web-01', 'app-01']) await shell.writeDisk(`disks/${name}.raw`, 16 * MiB);
  await shell.writeDisk('disks/files.raw', SMALL_DISK);
  await shell.writeDisk('disks/archive.raw', LARGE_DISK, LARGE_DISK);
  expect((await shell.run('up', '--detach')).stderr).toContain('Starting in the background');
  // The hypervisor has it open; who copies it does not find it.
  const disk = path.join(shell.folder, 'disks/app-01.raw');
  await rename(disk, `${disk}.away`);
  for (const name of ['files-01', 'app-01']) await shell.run('protect', name);
  for (const name of ['db-01', 'web-01']) expect((await shell.run('protect', name, '--wait')).code).toBe(0);
  expect((await shell.run('pause', 'web-01')).code).toBe(0);
  failing = await jobThat('app-01', 'enableProtection', (job) => job.retry !== undefined);
  copying = await jobThat('files-01', 'initialReplication', (job) => job.progress !== undefined);
}, 240_000);
afterAll(async () => {
  await shell.run('down');
  await rm(shell.folder, { recursive: true, force: true });
});

async function screenshot(page: Page, name: string): Promise<void> {
  if (SCREENSHOTS === undefined) return;
  await mkdir(SCREENSHOTS, { recursive: true });
  // What slides in, or is being resized, is to have come to rest.
  await page.waitForTimeout(REST_MS);
  await page.screenshot({ path: path.join(SCREENSHOTS, `${name}.png`) });
}

/** Ids of the workflows that the page lists, in the order of their names. */
const listed = async (page: Page): Promise<string[]> => {
  const texts = await page.locator('tbody tr a').allInnerTexts();
  return [...new Set(texts.filter((text) => /^(vm|job|plan|host)\//.test(text)))].toSorted();
};

test.for<[string, () => string[]]>([
  ['needs-attention', () => ['vm/vault-01/app-01', 'vm/vault-01/files-01', 'vm/vault-01/web-01']],
  ['waiting-for-person', () => [failing]],
  ['running-jobs', () => [failing, copying]],
  [
    'vault',
    () => [failing, copying, ...['app-01', 'db-01', 'files-01', 'web-01'].map((name) => `vm/vault-01/${name}`)],
  ],
])('the saved query %s finds what it says, and nothing else', async ([name, wanted], context) => {
  requireReader('chromium', context);
  const page = await browserPage();
  await page.goto(await address('--query', name));
  await expect.poll(() => listed(page), { timeout: 30_000 }).toEqual(wanted().toSorted());
});

test('a query that is kept stands among the saved views, and is there without the address', async (context) => {
  requireReader('chromium', context);
  const page = await browserPage();
  await page.addInitScript({ content: keepColumns });
  for (const name of ['needs-attention', 'running-jobs', 'waiting-for-person', 'vault']) {
    await page.goto(await address('--query', name, '--save'));
    await expect.poll(() => listed(page), { timeout: 30_000 }).not.toEqual([]);
  }
  await expect.poll(() => page.innerText('body')).toMatch(/Everything in the vault: vault-01/);
  await screenshot(page, 'saved-queries');
  await page.goto((await address('--query', 'vault')).replace(/\?.*/, ''));
  await page.getByText('Waits for an operator: vault-01').click();
  await expect.poll(() => listed(page), { timeout: 30_000 }).toEqual([failing]);
});

test('no row of the list is cut off in a usual window', async (context) => {
  requireReader('chromium', context);
  const page = await browserPage();
  await page.addInitScript({ content: keepColumns });
  await page.goto(await address('--query', 'vault'));
  await expect.poll(() => listed(page), { timeout: 30_000 }).toHaveLength(6);
  expect(await page.evaluate(CELLS_CUT_OFF)).toEqual([]);
});

test("the board's page shows what needs attention, the hosts and the VMs, and commands as they are typed", async (context) => {
  requireReader('chromium', context);
  const page = await browserPage();
  const board = await address('vault/vault-01');
  const shown = async () => {
    await page.goto(board);
    await page.getByText('User Metadata', { exact: true }).click();
    await page.waitForTimeout(REST_MS);
    return (await framesOf(page)).join('\n');
  };
  // It is looked at once a minute.
  await expect.poll(shown, { timeout: 150_000, interval: 5_000 }).toMatch(/Warning web-01: Protected/);
  const text = await shown();
  expect(text).toMatch(
    /The board of vault vault-01\n[^]*Vault vault-01: Critical\s+4 VMs: 1 Critical, 2 Warning, 1 Normal\./,
  );
  expect(text).toMatch(
    /Needs attention\s+Critical: app-01: [^]*disk of the VM is missing[^]*Warning: web-01: replication is paused/,
  );
  expect(text).toMatch(/Waits for an operator\s+Enable protection of app-01/);
  expect(text).toMatch(/Running\s+Initial replication of files-01: Copying the virtual disks, \d+ % of 512\.0 MiB/);
  expect(text).toMatch(/Hosts\s+hv-01, Critical: db-01, web-01, app-01\s+hv-02, Warning: files-01/);
  expect(text).toMatch(/VMs\s+Critical app-01: Unprotected, runs at the primary site\s+Warning web-01/);
  expect(text).toMatch(/Normal, at the primary site: db-01/);
  const typed = await Promise.all(page.frames().map((frame) => frame.locator('code').allInnerTexts()));
  expect(typed.flat()).toEqual(expect.arrayContaining(['farshore retry app-01', 'farshore resume web-01']));
  await expectWhole(page);
  await screenshot(page, 'board');
});

test("a VM's page leads to its phase, health, RPO and next cycle", async (context) => {
  requireReader('chromium', context);
  const page = await browserPage();
  await page.goto(await address('db-01'));
  await page.getByText('User Metadata', { exact: true }).click();
  const shown = async () => (await framesOf(page)).join('\n');
  await expect.poll(shown, { timeout: 30_000 }).toMatch(/db-01 is protected, active at the primary site/);
  expect(await shown()).toMatch(
    /Replication health: Normal\.[^]*Last cycle sent: \d+[^]*RPO: [^]* at 20[^]*Next cycle at 20/,
  );
  await expectWhole(page);
  await screenshot(page, 'vm');
});

test("a failing job's details name its tasks, what is wrong, and the remedy", async (context) => {
  requireReader('chromium', context);
  const page = await browserPage();
  await page.goto(await address(failing, '--details'));
  const shown = async () => (await framesOf(page)).join('\n');
  await expect.poll(shown, { timeout: 30_000 }).toMatch(/Enable protection of app-01: WaitingForPerson/);
  expect(await shown()).toMatch(
    /: InProgress[^]*Updating the provider states: NotStarted[^]*A virtual disk of the VM is missing[^]*farshore retry app-01/,
  );
  await expectWhole(page);
});

test("a running job's details show how far it is", async (context) => {
  requireReader('chromium', context);
  const page = await browserPage();
  await page.goto(await address(copying, '--details'));
  const shown = async () => (await framesOf(page)).join('\n');
  await expect.poll(shown, { timeout: 30_000 }).toMatch(/Initial replication of files-01: InProgress/);
  expect(await shown()).toMatch(/MiB of 512\.0 MiB \(\d+ %\)[^]*Copying the virtual disks: InProgress/);
  await expectWhole(page);
  await screenshot(page, 'job');
});

/** The Web UI shows text of others in frames of their own. */
const framesOf = (page: Page): Promise<string[]> =>
  Promise.all(page.frames().map((frame) => frame.innerText('body').catch(() => '')));

/** A frame shows its text to the end, without being scrolled. */
async function expectWhole(page: Page): Promise<void> {
  const cutOff = async () => {
    const frames = page.frames().filter((frame) => frame !== page.mainFrame());
    return (await Promise.all(frames.map((frame) => frame.evaluate<string[]>(TEXTS_CUT_OFF)))).flat();
  };
  // The page sizes them once they are there.
  await expect.poll(cutOff, { timeout: 10_000 }).toEqual([]);
}
