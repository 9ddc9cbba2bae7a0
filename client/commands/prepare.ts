/** `prepare`: sets up a deployment before its processes are started one by one. */
import { Command } from 'commander';
import { formatStoreAddress } from '../../domain/store-address.js';
import { loadSite } from '../../config/site-file.js';
import { fields, note } from '../output.js';
import { answerOf } from '../temporal-answer.js';
import { waitingForStore } from './store-patience.js';
import { commonOptions, dataFolderOf, givenBy, outputOf, siteFileOf, temporalPlaceOf } from './place.js';

export function prepareCommand(): Command {
  return new Command('prepare')
    .summary('create namespace, search attributes and replica store')
    .description(
      "Creates Temporal's namespace (retention 90 days), the search attributes and the replica store of the site " +
        'file if they are missing, and changes nothing that exists. Use it for deployments whose workers you start ' +
        'yourself; `farshore up` does the same. `farshore doctor` says what else is missing.',
    )
    .option('--new-store', 'create a replica store, or use the one found, even if this vault used another one before')
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
