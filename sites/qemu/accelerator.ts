/**
 * Chooses the accelerator with which QEMU runs guests on this machine. KVM counts only if it boots a sector in
 * reasonable time: nested in another hypervisor, `/dev/kvm` may open and then take seconds for work that software
 * emulation does in a tenth of a second.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type Accelerator = 'kvm' | 'tcg';

/** Working KVM takes a tenth of this, ms. */
const BOOTED_WITHIN_MS = 1_500;
/** The port with which a guest ends QEMU, and the value that the sector below writes to it. */
const EXIT_PORT = 0xf4;
const WRITTEN = 0x21;
/** The exit code that QEMU derives from the written value. */
const EXIT_CODE = (WRITTEN << 1) | 1;

/** mov al, WRITTEN; mov dx, EXIT_PORT; out dx, al; hlt; jump back to the hlt. */
const SECTOR_CODE = [0xb0, WRITTEN, 0xba, EXIT_PORT, 0x00, 0xee, 0xf4, 0xeb, 0xfd];

let found: Promise<Accelerator> | undefined;

/** Determined once per process. */
export function accelerator(qemu: string): Promise<Accelerator> {
  return (found ??= boots(qemu, 'kvm').then((works) => (works ? 'kvm' : 'tcg')));
}

/** Whether QEMU boots a sector in time with this accelerator. */
async function boots(qemu: string, accel: Accelerator): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), 'farshore-accelerator-'));
  const sector = join(folder, 'sector.img');
  const image = Buffer.alloc(512);
  Buffer.from(SECTOR_CODE).copy(image);
  image.writeUInt16LE(0xaa55, 510);
  try {
    await writeFile(sector, image);
    const args = [
      ...['-accel', accel, '-machine', 'pc', '-m', '32', '-nodefaults', '-no-user-config', '-display', 'none'],
      ...['-device', `isa-debug-exit,iobase=${EXIT_PORT},iosize=4`],
      ...['-drive', `file=${sector},format=raw,if=ide`],
    ];
    return await new Promise((resolve) => {
      execFile(qemu, args, { timeout: BOOTED_WITHIN_MS, killSignal: 'SIGKILL' }, (error) =>
        resolve(error?.code === EXIT_CODE),
      );
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
