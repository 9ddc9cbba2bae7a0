/** Chromium without a window, as another program that reads what we show. */
import { onTestFinished } from 'vitest';
import { chromium, type BrowserContext, type Page } from 'playwright-core';
import { temporaryFolder } from './temporary-folder.js';

/** As Debian installs it. */
const EXECUTABLE = '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** A page of a browser that nobody has used before; it ends with the current test. */
export async function browserPage(): Promise<Page> {
  const folder = await temporaryFolder();
  const context: BrowserContext = await chromium.launchPersistentContext(folder, {
    executablePath: EXECUTABLE,
    headless: true,
    args: FLAGS,
    viewport: { width: 1280, height: 800 },
    timezoneId: 'UTC',
  });
  onTestFinished(() => context.close());
  return context.pages()[0] ?? (await context.newPage());
}
