/** `site check`: checks the site file, and whether the disks that it names exist. */
import { Command } from 'commander';
import { formatBytes } from '../../domain/bytes.js';
import { hostsOf, type Site } from '../../domain/site.js';
import { documentSchema, schemaText, type DocumentKind } from '../../config/document-schemas.js';
import { loadSite } from '../../config/site-file.js';
import { commonOptions, outputOf, siteFileOf } from './place.js';

export function siteCommand(): Command {
  const site = new Command('site')
    .summary('check site files')
    .description('The site file describes the vault, VMM servers, networks, policies and VMs.');
  site
    .command('check')
    .summary('check a site file and its disks')
    .description(
      'Checks the site file as `farshore up` does: its structure, its references, and that every disk exists ' +
        'with the declared format and size. Also checks that a replica can hold each disk. Reports the first error ' +
        'with file, line, path, value and remedy. Starts nothing.',
    )
    .action(async (_options: object, command: Command) => {
      const loaded = await loadSite(siteFileOf(commonOptions(command)), { disks: true, replicas: true });
      const { declaredBytes, ...counts } = countsOf(loaded.site);
      const { vmmServers, clouds, hosts, vms, disks, networks, policies } = counts;
      const size = declaredBytes > 0 ? ` (${formatBytes(declaredBytes)} declared)` : '';
      outputOf(command).result(
        'site check',
        { file: loaded.file, vault: loaded.site.vault.name, counts, declaredBytes },
        `${loaded.file} is valid: vault ${loaded.site.vault.name}, VMM servers: ${vmmServers}, clouds: ${clouds}, hosts: ${hosts}, ` +
          `VMs: ${vms}, disks: ${disks}${size}, Azure networks: ${networks}, policies: ${policies}.`,
      );
    });
  site.addCommand(schemaCommand('site', 'site files'));
  return site;
}

/** @param what ends the sentence "The JSON Schema of ...". */
export const schemaCommand = (kind: DocumentKind, what: string): Command =>
  new Command('schema')
    .summary(`the JSON Schema of ${what}, for editors`)
    .description(`Prints the JSON Schema of ${what}, for editors and other programs that check documents.`)
    .action(() => {
      process.stdout.write(schemaText(documentSchema(kind)));
    });

function countsOf(site: Site) {
  const { vmmServers, azureNetworks, policies, vms } = site;
  const clouds = vmmServers.flatMap((server) => server.clouds);
  const disks = vms.flatMap((vm) => vm.disks);
  return {
    vmmServers: vmmServers.length,
    clouds: clouds.length,
    hosts: hostsOf(site).length,
    vms: vms.length,
    disks: disks.length,
    networks: azureNetworks.length,
    policies: policies.length,
    declaredBytes: disks.reduce((sum, disk) => sum + (disk.size ?? 0), 0),
  };
}
