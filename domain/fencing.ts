/** How a VM that runs elsewhere is kept from starting at its source. */
export const fencingKinds = ['enforced', 'advised'] as const;
/**
 * - enforced: the host refuses every request to start it under an older epoch.
 * - advised: only a setting keeps it off, which an operator of its host can change.
 */
export type Fencing = (typeof fencingKinds)[number];

/** For display. */
export const fencingTexts: Readonly<Record<Fencing, string>> = {
  enforced: 'enforced: once it has been failed over, its host refuses to start it',
  advised: 'advised: after a failover, a setting on its host keeps it off, which an operator of that host can change',
};
