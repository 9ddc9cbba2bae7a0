/**
 * Proves that a replica equals its source, using independent readers: SHA-256 over plain reads of both files, `qemu-img
 * compare`, and `e2fsck` on the replica. Uses no part of the replication engine.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { promisify } from 'node:util';
import { verifyNumbered } from '../../sites/nbd/numbered-writer.js';
import { guestRegion, type DemoDisk } from './demo-site.js';
import { checkTransactions } from './guest/transactions.js';
import type { Written } from './guests.js';
import { findTool } from './tools.js';

const run = promisify(execFile);
const READ_BYTES = 4 * 1024 * 1024;
const MAX_TRANSACTIONS_BYTES = 64 * 1024 * 1024;

export interface DiskProof {
  readonly name: string;
  readonly bytes: number;
  /** SHA-256 of the virtual disk's contents, hex. */
  readonly sourceDigest: string;
  readonly replicaDigest: string;
  readonly checks: readonly Check[];
}

export interface Check {
  readonly name: string;
  readonly outcome: 'passed' | 'failed' | 'skipped';
  readonly detail: string;
}

/**
 * @param replicaFile the fixed VHD in the store: contents first, footer last.
 * @param written the newest block or transaction that was acknowledged to the guest; the replica must hold it and all
 * earlier ones.
 */
export async function proveDisk(
  disk: DemoDisk,
  replicaFile: string,
  written: Pick<Written, 'kind' | 'newest'>,
): Promise<DiskProof> {
  const [sourceDigest, replicaDigest] = await Promise.all([
    digestOf(disk.file, disk.size),
    digestOf(replicaFile, disk.size),
  ]);
  const same = sourceDigest === replicaDigest;
  const checks: Check[] = [
    {
      name: 'sha256 of both files',
      outcome: same ? 'passed' : 'failed',
      detail: same ? `${disk.size} bytes are equal` : `source ${sourceDigest}, replica ${replicaDigest}`,
    },
    await compareWithQemu(disk.file, replicaFile),
    await checkFileSystem(disk, replicaFile),
    written.kind === 'blocks'
      ? await checkGuestBlocks(disk, replicaFile, written.newest)
      : await checkGuestTransactions(replicaFile, written.newest),
  ];
  return { name: disk.name, bytes: disk.size, sourceDigest, replicaDigest, checks };
}

async function digestOf(file: string, length: number): Promise<string> {
  const handle = await open(file, 'r');
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(READ_BYTES);
  try {
    for (let offset = 0; offset < length;) {
      const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, length - offset), offset);
      if (bytesRead === 0) throw new Error(`${file} ends at ${offset}, expected ${length} bytes`);
      hash.update(buffer.subarray(0, bytesRead));
      offset += bytesRead;
    }
  } finally {
    await handle.close();
  }
  return hash.digest('hex');
}

async function compareWithQemu(source: string, replica: string): Promise<Check> {
  const name = 'qemu-img compare';
  const tool = await findTool('qemu-img');
  if (tool === undefined) return { name, outcome: 'skipped', detail: 'qemu-img is not installed' };
  return judged(name, run(tool, ['compare', '-f', 'raw', '-F', 'vpc', source, replica]));
}

async function checkFileSystem(disk: DemoDisk, replica: string): Promise<Check> {
  const name = 'e2fsck';
  const tool = await findTool('e2fsck');
  if (tool === undefined) return { name, outcome: 'skipped', detail: 'e2fsck is not installed' };
  if (!disk.fileSystem)
    return { name, outcome: 'skipped', detail: 'mke2fs is not installed, so the disk has no file system' };
  return judged(name, run(tool, ['-f', '-n', replica]));
}

async function judged(name: string, running: Promise<{ stdout: string }>): Promise<Check> {
  try {
    const { stdout } = await running;
    return { name, outcome: 'passed', detail: lastLine(stdout) };
  } catch (error) {
    const { stdout, message } = error as { stdout?: string; message: string };
    return { name, outcome: 'failed', detail: lastLine(stdout ?? '') || message };
  }
}

const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? '';

async function checkGuestTransactions(replica: string, newest: number): Promise<Check> {
  const name = 'transactions of the guest';
  const tool = await findTool('debugfs');
  if (tool === undefined) return { name, outcome: 'skipped', detail: 'debugfs is not installed' };
  const { stdout } = await run(tool, ['-R', 'cat /transactions', replica], { maxBuffer: MAX_TRANSACTIONS_BYTES });
  const { last, fault } = checkTransactions(stdout);
  if (fault !== undefined) return { name, outcome: 'failed', detail: fault };
  if (last < newest) {
    return {
      name,
      outcome: 'failed',
      detail: `the guest wrote transaction ${newest}, but the replica ends at transaction ${last}`,
    };
  }
  return { name, outcome: 'passed', detail: `transactions 1 to ${last}, each with the digest of the one before` };
}

async function checkGuestBlocks(disk: DemoDisk, replica: string, acknowledged: number): Promise<Check> {
  const name = 'blocks the guest wrote';
  const handle = await open(replica, 'r');
  try {
    const read = async (target: Buffer, offset: number) => {
      await handle.read(target, 0, target.length, offset);
    };
    const { last, faults } = await verifyNumbered({ read }, `${disk.vm}/${disk.name}`, guestRegion(disk));
    if (faults.length > 0) return { name, outcome: 'failed', detail: faults[0]! };
    if (last < acknowledged) {
      return {
        name,
        outcome: 'failed',
        detail: `block ${acknowledged} was acknowledged, but the replica ends at block ${last}`,
      };
    }
    return {
      name,
      outcome: 'passed',
      detail: `blocks 1 to ${last}, including all acknowledged ones (${acknowledged})`,
    };
  } finally {
    await handle.close();
  }
}
