/** The current state of the primary site of VMs that will be failed over or unprotected. */
import type { ProtectedItemView } from '../../domain/item-view.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { BEFORE_THAT, startAgent, startHypervisor, startProvider } from '../../domain/start-again.js';
import { RefusedError } from '../errors.js';
import { listener } from '../../temporal/host-hearing.js';
import type { Farshore } from '../farshore.js';
import { hostSign, type HostSign } from '../host-sign.js';
import type { Place } from './place.js';

/** The latest sign of life of each VM's host. */
export async function hostSigns(
  farshore: Farshore,
  { site, data, instance }: Place,
  views: readonly { vm: string; view: ProtectedItemView }[],
): Promise<{ vm: string; view: ProtectedItemView; sign: HostSign }[]> {
  const { LocalSite } = await import('../../local/local-site.js');
  const local = new LocalSite(site.site, data);
  const listenTo = listener(farshore.temporal, site.site.vault.name);
  return await Promise.all(
    views.map(async ({ vm, view }) => ({
      vm,
      view,
      sign: await hostSign(farshore, listenTo, local, view.item, instance !== undefined),
    })),
  );
}

/** For a host that answers, as part of a sentence. */
export const answersText = ({ host, power }: HostSign): string =>
  `its host ${host} answers${power === undefined ? '' : power === 'Running' ? ', and the VM runs there' : ', and the VM is off there'}`;

/** The hypervisor says that the VM runs, but the agent does not answer: nothing stops the source automatically. */
export const runsUnwatched = ({ answers, power }: HostSign): boolean => !answers && power === 'Running';

/** Planned failovers need host and Provider. @throws RefusedError with the way out. */
export async function requirePrimarySide(
  farshore: Farshore,
  place: Place,
  views: readonly { vm: string; view: ProtectedItemView }[],
): Promise<void> {
  const signs = await hostSigns(farshore, place, views);
  const silent = signs.filter(({ sign }) => !sign.answers || !sign.providerAnswers);
  if (silent.length === 0) return;
  const lacks = silent.map((one) => ({ ...one, ...lackOf(one.view.item, one.sign) }));
  const reasons = lacks.map(({ vm, who }) => `${vm}: ${who} does not answer, and a planned failover needs it`);
  const lost = lacks
    .filter(({ mayBeLost, view }) => mayBeLost && view.operations.unplannedFailover.allowed)
    .map(({ vm }) => vm);
  const starts = [...new Set(lacks.flatMap(({ start }) => start))].join(', and ');
  const instead =
    lost.length === 0
      ? 'The VMs stay where they are, and nothing is lost by waiting for it.'
      : `If the host is lost: farshore failover ${lost.join(' ')} --type unplanned --wait`;
  throw new RefusedError(
    ['nothing was started', ...reasons, `  Remedy: restart: ${starts}. ${BEFORE_THAT}. ${instead}`].join('\n'),
  );
}

/**
 * What is missing for a planned failover. A host counts as lost only if nothing on it answers; otherwise there is a way
 * without data loss.
 */
function lackOf(
  item: ProtectedItem,
  sign: HostSign,
): { readonly who: string; readonly start: readonly string[]; readonly mayBeLost: boolean } {
  const { host, answers, providerAnswers, seenAt } = sign;
  const provider = providerAnswers ? [] : [startProvider(item.vmmServer)];
  if (answers) return { who: `the Provider of VMM server ${item.vmmServer}`, start: provider, mayBeLost: false };
  const seen = seenAt === undefined ? '' : ` (last heard at ${seenAt})`;
  if (runsUnwatched(sign)) {
    const who = `the agent of host ${host}${seen}, where the VM is running,`;
    return { who, start: [startAgent(host), ...provider], mayBeLost: false };
  }
  if (sign.hypervisorAlone) {
    return { who: `the hypervisor of host ${host}`, start: [startHypervisor(host), ...provider], mayBeLost: false };
  }
  return {
    who: `its host ${host}${seen}`,
    start: [startHypervisor(host), startAgent(host), ...provider],
    mayBeLost: true,
  };
}
