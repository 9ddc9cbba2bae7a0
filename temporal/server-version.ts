/** Which Temporal servers Farshore works with. */

/** The oldest one accepted, major and minor: the one that Farshore is tested with. */
export const MINIMUM_SERVER = [1, 29] as const;

/** @param version as a server or its program tells it, 1.29.1 for example. */
export function isSupportedServer(version: string): boolean {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(version) ?? [];
  if (major === undefined || minor === undefined) return false;
  const [wantedMajor, wantedMinor] = MINIMUM_SERVER;
  return Number(major) > wantedMajor || (Number(major) === wantedMajor && Number(minor) >= wantedMinor);
}
