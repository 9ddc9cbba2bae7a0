/**
 * A Provider that does not answer: replication continues, but nothing at the primary site can be shut down or fenced.
 */
import type { Attention, Viewed } from './attention.js';
import type { ProtectedItemView } from './item-view.js';
import { no } from './permission.js';
import { needsPrimarySide } from './protected-item.js';
import { BEFORE_THAT, startProvider } from './start-again.js';

export interface SilentProvider {
  readonly vmmServer: string;
  /** When it last polled for work, ISO 8601; undefined if that is no longer known. */
  readonly polledAt?: string;
}

const messageOf = (vmmServer: string): string => `the Provider of VMM server ${vmmServer} does not answer`;

/** One entry for all VMs that the Provider serves. */
export function silentProvider({ vmmServer, polledAt }: SilentProvider, views: readonly Viewed[]): Attention {
  const vms = views
    .filter(({ view }) => view?.item.vmmServer === vmmServer && needsPrimarySide(view.item))
    .map(({ vm }) => vm);
  return {
    vms,
    health: 'Warning',
    message: `${messageOf(vmmServer)}: it cannot shut down, start or fence ${vms.join(', ')} at the primary site`,
    ...(polledAt !== undefined && { since: polledAt }),
    advice: [
      `Restart the Provider: ${startProvider(vmmServer)}. ${BEFORE_THAT}.`,
      'Replication continues without it, and so does an unplanned failover; a planned failover needs it.',
    ],
  };
}

/** A VM's view with only what is possible while its Provider does not answer. */
export function withoutProvider(view: ProtectedItemView): ProtectedItemView {
  const { item, operations } = view;
  if (!operations.plannedFailover.allowed) return view;
  const reason = `${messageOf(item.vmmServer)}, and a planned failover needs it; restart it: ${startProvider(item.vmmServer)}`;
  return { ...view, operations: { ...operations, plannedFailover: no(reason) } };
}

/** For a sentence about one VM. */
export const providerProblem = (vmmServer: string): string =>
  `The Provider of VMM server ${vmmServer} does not answer; restart it: ${startProvider(vmmServer)}`;
