import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/**
 * The user's folder in which downloaded or built servers are kept: `$FARSHORE_CACHE`, else `$XDG_CACHE_HOME/farshore`,
 * else `~/.cache/farshore`. Deleting it is always safe. The folder may not exist yet.
 */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env['FARSHORE_CACHE']) return resolve(env['FARSHORE_CACHE']);
  if (env['XDG_CACHE_HOME']) return resolve(env['XDG_CACHE_HOME'], 'farshore');
  return join(homedir(), '.cache', 'farshore');
}
