/** The Temporal servers with which Farshore works. */

/** The oldest accepted version, major and minor: the one with which Farshore is tested. */
export const MINIMUM_SERVER = [1, 29] as const;

/** @param version as reported by a server or its program, for example 1.29.1. */
export function isSupportedServer(version: string): boolean {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(version) ?? [];
  if (major === undefined || minor === undefined) return false;
  const [wantedMajor, wantedMinor] = MINIMUM_SERVER;
  return Number(major) > wantedMajor || (Number(major) === wantedMajor && Number(minor) >= wantedMinor);
}
