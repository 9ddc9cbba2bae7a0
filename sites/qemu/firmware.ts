/**
 * Finds the firmware of a machine through the descriptors of QEMU's packages, which are in order of preference
 * (https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/firmware.json).
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

const FOLDERS = ['/etc/qemu/firmware', '/usr/local/share/qemu/firmware', '/usr/share/qemu/firmware'];

const descriptorSchema = z.object({
  'interface-types': z.array(z.string()),
  mapping: z.object({
    device: z.literal('flash'),
    executable: z.object({ filename: z.string() }),
    'nvram-template': z.object({ filename: z.string() }),
  }),
  targets: z.array(z.object({ architecture: z.string(), machines: z.array(z.string()) })),
  features: z.array(z.string()),
});

export interface UefiFirmware {
  readonly code: string;
  /** Template of a machine's firmware variables. */
  readonly variables: string;
  /** Whether it needs a machine with System Management Mode. */
  readonly needsSmm: boolean;
}

/** @returns undefined if no suitable firmware is installed. */
export async function uefiFirmware(secureBoot: boolean, folders = FOLDERS): Promise<UefiFirmware | undefined> {
  for (const folder of folders) {
    const names = await readdir(folder).catch(() => []);
    for (const name of names.toSorted((a, b) => a.localeCompare(b))) {
      if (!name.endsWith('.json')) continue;
      const { data } = descriptorSchema.safeParse(await readJson(join(folder, name)));
      if (!data || !data['interface-types'].includes('uefi')) continue;
      const fits = data.targets.some(
        ({ architecture, machines }) =>
          architecture === 'x86_64' && machines.some((machine) => machine.startsWith('pc-q35')),
      );
      // Secure boot needs a firmware with enrolled keys. Without secure boot, skip any firmware that could enforce it.
      const enforces = data.features.includes('enrolled-keys');
      const able = data.features.includes('secure-boot');
      if (!fits || (secureBoot ? !enforces : able)) continue;
      return {
        code: data.mapping.executable.filename,
        variables: data.mapping['nvram-template'].filename,
        needsSmm: data.features.includes('requires-smm'),
      };
    }
  }
  return undefined;
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch {
    return undefined;
  }
}
