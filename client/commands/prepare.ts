/** `prepare`: what a deployment needs before its processes are started, each by itself. */
import { Command } from 'commander';
import { formatStoreAddress } from '../../domain/store-address.js';
import { loadSite } from '../../workers/site-file.js';
import { fields, note } from '../output.js';
import { answerOf } from '../temporal-answer.js';
import { waitingForStore } from './store-patience.js';
import { commonOptions, dataFolderOf, givenBy, outputOf, siteFileOf, temporalPlaceOf } from './place.js';

export function prepareCommand(): Command {
  return new Command('prepare')
    .summary('make what a deployment needs: namespace, search attributes, replica store')
    .description(
      "Makes Temporal's namespace (with 90 days' retention) and search attributes, and the replica store of the site file,\n" +
        'where they are missing; what is there stays as it is. For deployments whose workers are started each by itself;\n' +
        '`farshore up` does it by itself. `farshore doctor` says what is missing besides.',
    )
    .addHelpText('after', '\nExample:\n  TEMPORAL_ADDRESS=temporal.example:7233 farshore prepare --site site.yaml')
    .action(async (_options: object, command: Command) => {
      const options = commonOptions(command);
      const data = dataFolderOf(options);
      const instance = (await data.isHeld()) ? await data.readInstance() : undefined;
      const place = temporalPlaceOf(instance, data);
      const { site } = await loadSite(siteFileOf(options), { disks: false });
      const { connectTarget } = await import('../../workers/temporal-connection.js');
      const { prepareTemporal } = await import('../../workers/prepared-temporal.js');
      const { openReplicaStore } = await import('../../workers/replica-store.js');
      const target = connectTarget(givenBy(place));
      await prepareTemporal(target, note).catch((error: unknown) => {
        throw answerOf(error);
      });
      const store = formatStoreAddress(site.vault.store);
      const opened = waitingForStore(
        site.vault.store,
        openReplicaStore(site.vault.store, { create: true, vault: site.vault.name }),
      );
      await (await opened).close();
      outputOf(command).result(
        { temporal: { address: target.address, namespace: target.namespace }, store },
        `Ready for the workers of the vault ${site.vault.name}.\n${fields([
          ['Temporal', `${target.address}, namespace ${target.namespace}`],
          ['Store', store],
          ['Next', ['hypervisor', 'recovery-compute', 'worker'].map((name) => `farshore ${name} --help`).join('\n')],
        ])}`,
      );
    });
}
