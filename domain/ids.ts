/** Names and identifiers: the rules for names, and how readable IDs are built from them. */
import { z } from 'zod';

/**
 * A name of a VM, host, network and so on: 1-63 characters. The limit is the product's for VM names. The alphabet makes
 * a name usable unchanged in file names, blob names and workflow IDs, so that no name can escape its path.
 */
export const nameSchema = z
  .string()
  .min(1)
  .max(63)
  .regex(/^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/, {
    error: 'use only letters, digits, ".", "_" and "-", and begin and end with a letter or digit',
  })
  .refine((name) => !name.includes('..'), { error: 'two dots in a row are not allowed' });

/**
 * Each queue belongs to one vault: if two vaults on one namespace have hosts of the same names, their workers must not
 * take each other's work.
 */
export const taskQueues = {
  /** The recovery site: store and compute. Also the queue of the workflows. */
  azure: (vault: string) => `azure:${vault}`,
  /** The Provider on a VMM server. */
  vmm: (vault: string, server: string) => `vmm:${vault}/${server}`,
  /** The agent on a Hyper-V host. */
  host: (vault: string, host: string) => `host:${vault}/${host}`,
} as const;

/** The protection entity of a VM: one per VM and vault, for the VM's whole protected life. */
export const protectedItemId = (vault: string, vm: string): string => `vm/${vault}/${vm}`;

/** The workflow that watches a host for the VMs of a vault. */
export const hostWatchId = (vault: string, host: string): string => `host/${vault}/${host}`;

/** The workflow that shows the board of a vault. */
export const vaultBoardId = (vault: string): string => `vault/${vault}`;

/** `2026-03-01T12:30:05.123Z` as `20260301T123005Z`: sorts by time, and needs no quoting in a shell. */
export const compactTime = (iso: string): string => iso.replace(/[-:]/g, '').replace(/\.\d+Z$/, 'Z');

/** @param serial distinguishes two jobs of one VM that are requested within the same second; 0 adds nothing. */
export const jobId = (vault: string, vm: string, kind: string, at: string, serial: number): string =>
  `job/${vault}/${vm}/${kebab(kind)}/${compactTime(at)}${serial > 0 ? `-${serial}` : ''}`;

/** A preview of a job. @param unique distinguishes previews of one VM. */
export const previewId = (vault: string, vm: string, kind: string, unique: string): string =>
  `preview/${vault}/${vm}/${kebab(kind)}/${unique}`;

/** The vault is part of the ID, because two vaults may have plans of the same name. */
export const planRunId = (vault: string, plan: string, at: string): string =>
  `plan/${vault}/${plan}/${compactTime(at)}`;

const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** (epoch, sequence) as it appears in file and blob names: sorts in the order of the cycles. */
export const cycleName = (epoch: number, sequence: number): string =>
  `${String(epoch).padStart(4, '0')}-${String(sequence).padStart(8, '0')}`;
