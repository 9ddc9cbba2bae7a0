/**
 * If the site file moves a VM to another host, the hypervisor's state of the VM moves along: power, fence, snapshot.
 */
import { mkdir, rename } from 'node:fs/promises';
import path from 'node:path';
import { isThere } from '../disks/make-folder.js';
import { syncFolder } from '../disks/sync-folder.js';
import type { Site } from '../domain/site.js';
import type { DataFolder } from '../config/data-folder.js';

/** No hypervisor of the instance may be running. @throws the errno of the file system. */
export async function moveVmStates({ vms }: Site, data: DataFolder): Promise<void> {
  const known = await data.hypervisorHosts();
  for (const { name, host } of vms) {
    const fileOn = (of: string) => path.join(data.hypervisorState(of), `${name}.json`);
    if (await isThere(fileOn(host))) continue;
    for (const before of known.filter((other) => other !== host)) {
      if (!(await isThere(fileOn(before)))) continue;
      await mkdir(data.hypervisorState(host), { recursive: true, mode: 0o700 });
      await rename(fileOn(before), fileOn(host));
      await syncFolder(data.hypervisorState(host));
      break;
    }
  }
}
