/** Whether the demo's VMs can be booted on this machine. */
import { findTool } from '../tools.js';
import { guestImage, type GuestImage } from './guest-image.js';

/** @returns what they boot from, or why they can't be booted and what to install. */
export async function bootableGuest(): Promise<GuestImage | string> {
  // The hypervisors of the demo take the program that this variable names.
  const qemu = process.env['FARSHORE_QEMU'] ?? 'qemu-system-x86_64';
  if ((await findTool(qemu)) === undefined) return `${qemu} is not installed (install qemu-system-x86)`;
  for (const tool of ['mke2fs', 'debugfs']) {
    if ((await findTool(tool)) === undefined) return `${tool} is not installed (install e2fsprogs)`;
  }
  return guestImage();
}
