/** Opens a page in a browser on this machine, if one can be shown. */
import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import path from 'node:path';

/** A program and its arguments. */
export interface BrowserCommand {
  readonly program: string;
  readonly args: readonly string[];
}

interface Surroundings {
  readonly platform: NodeJS.Platform;
  readonly env: NodeJS.ProcessEnv;
  /** Whether the PATH has a program of this name. */
  readonly has: (program: string) => boolean;
}

/** @returns undefined if no browser can be shown: without a display, or without a program that opens one. */
export function browserCommand(url: string, { platform, env, has }: Surroundings): BrowserCommand | undefined {
  if (platform === 'darwin') return { program: 'open', args: [url] };
  // `start` is a command of the shell, not a program; the empty title keeps it from taking the address for the window's
  // title.
  if (platform === 'win32') return { program: 'cmd', args: ['/c', 'start', '""', url.replaceAll('&', '^&')] };
  if (!env['DISPLAY'] && !env['WAYLAND_DISPLAY']) return undefined;
  return has('xdg-open') ? { program: 'xdg-open', args: [url] } : undefined;
}

/** @returns whether a browser was started to show the page. */
export async function openInBrowser(url: string): Promise<boolean> {
  const command = browserCommand(url, { platform: process.platform, env: process.env, has: isOnPath });
  if (!command) return false;
  const child = spawn(command.program, command.args, {
    detached: true,
    stdio: 'ignore',
    windowsVerbatimArguments: true,
  });
  return await new Promise<boolean>((resolve) => {
    child.once('error', () => resolve(false));
    child.once('spawn', () => {
      // The browser stays open when the command ends.
      child.unref();
      resolve(true);
    });
  });
}

function isOnPath(program: string): boolean {
  const folders = (process.env['PATH'] ?? '').split(path.delimiter).filter((folder) => folder !== '');
  return folders.some((folder) => {
    try {
      accessSync(path.join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
