/** The RPO of a VM as it is when somebody asks. */
import { rpoSeconds } from '../domain/health.js';
import type { ProtectedItemView } from '../workflows/messages.js';

/** A workflow's time stands still while nothing happens to it, and the RPO that it tells with it. */
export function withCurrentRpo(view: ProtectedItemView): ProtectedItemView {
  const rpo = rpoSeconds(view.item, new Date().toISOString());
  return { ...view, ...(rpo !== undefined && { rpoSeconds: rpo }) };
}
