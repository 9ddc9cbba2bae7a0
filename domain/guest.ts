/** Whether the guest of a VM is booted, at a hypervisor that boots guests. */
import { z } from 'zod';

export const guestStateSchema = z.object({
  booted: z.boolean(),
  problem: z.string().exactOptional().describe('Why it is not, although the VM runs.'),
});
/** The guest of a VM at a hypervisor that boots guests. */
export type GuestState = z.infer<typeof guestStateSchema>;

/** Text to show after the VM's power state. @param guest undefined if no guests are booted. */
export function guestText(guest: GuestState | undefined): string {
  if (!guest) return 'not booted, served over NBD';
  if (guest.booted) return 'booted';
  return `not booted${guest.problem === undefined ? '' : `: ${guest.problem}`}`;
}
