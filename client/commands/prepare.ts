/** `prepare`: what a deployment needs before its processes are started, each by itself. */
import { Command } from 'commander';
import { formatStoreAddress } from '../../domain/store-address.js';
import { loadSite } from '../../config/site-file.js';
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
    .option(
      '--new-store',
      'make a replica store, or take the one that is there, although the vault is known to have another',
    )
    .addHelpText('after', '\nExample:\n  TEMPORAL_ADDRESS=temporal.example:7233 farshore prepare --site site.yaml')
    .action(async ({ newStore }: { readonly newStore?: true }, command: Command) => {
      const options = commonOptions(command);
      const data = dataFolderOf(options);
      const instance = (await data.isHeld()) ? await data.readInstance() : undefined;
      const place = temporalPlaceOf(instance, data);
      const { site } = await loadSite(siteFileOf(options), { disks: false });
      const { connectTarget, connectTemporal } = await import('../../temporal/connection.js');
      const { prepareTemporal } = await import('../../temporal/prepared-temporal.js');
      const { VaultStore } = await import('../../local/vault-store.js');
      const { runningProtections } = await import('../../temporal/running-protections.js');
      const target = connectTarget(givenBy(place));
      await prepareTemporal(target, note).catch((error: unknown) => {
        throw answerOf(error);
      });
      const store = formatStoreAddress(site.vault.store);
      const vaultStore = new VaultStore(data, site);
      const replicated = async () => {
        const connection = await connectTemporal(target);
        try {
          return await runningProtections(connection, target.namespace, site.vault.name);
        } finally {
          await connection.close();
        }
      };
      const prepareStore = async () => {
        if (newStore) await vaultStore.make([]);
        else if (!(await vaultStore.isThere())) await vaultStore.make(await replicated());
      };
      await waitingForStore(site.vault.store, prepareStore()).catch((error: unknown) => {
        throw answerOf(error);
      });
      outputOf(command).result(
        'prepare',
        { temporal: { address: target.address, namespace: target.namespace }, store },
        `Ready for the workers of the vault ${site.vault.name}.\n${fields([
          ['Temporal', `${target.address}, namespace ${target.namespace}`],
          ['Store', store],
          ['Next', ['hypervisor', 'recovery-compute', 'worker'].map((name) => `farshore ${name} --help`).join('\n')],
        ])}`,
      );
    });
}
