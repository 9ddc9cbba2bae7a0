/** The current state of the primary site of VMs that will be failed over or unprotected. */
import type { ProtectedItemView } from '../../domain/item-view.js';
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
  const reasons = silent.map(({ vm, view, sign }) => {
    const seen = sign.seenAt === undefined ? '' : ` (last heard at ${sign.seenAt})`;
    const who = sign.answers ? `the Provider of VMM server ${view.item.vmmServer}` : `its host ${sign.host}${seen}`;
    return `${vm}: ${who} does not answer, and a planned failover needs it`;
  });
  const able = silent.filter(({ view }) => view.operations.unplannedFailover.allowed).map(({ vm }) => vm);
  const instead =
    able.length === 0
      ? '  Remedy: restart the processes that do not answer.'
      : `  Remedy: restart the processes that do not answer; or, if the site is lost: farshore failover ${able.join(' ')} --type unplanned --wait`;
  throw new RefusedError(['nothing was started', ...reasons, instead].join('\n'));
}
