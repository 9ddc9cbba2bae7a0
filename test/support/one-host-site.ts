/** A site of one host, h1, of one VMM server, with one network on either side: what its tests need of a site, and no more. */
import { siteSchema, type Site } from '../../domain/site.js';

/** @param storePath folder of its store. @param vms as a site file names them. */
export const oneHostSite = (storePath: string, vms: readonly object[]): Site =>
  siteSchema.parse({
    vault: { name: 'vault-1', store: { kind: 'embedded', path: storePath } },
    vmmServers: [
      {
        name: 'vmm-1',
        logicalNetworks: [{ name: 'l' }],
        vmNetworks: [{ name: 'lan', logicalNetwork: 'l' }],
        clouds: [{ name: 'c', hosts: [{ name: 'h1' }] }],
      },
    ],
    azureNetworks: [{ name: 'vnet', subnets: ['default'] }],
    networkMappings: [{ vmNetwork: 'lan', azureNetwork: 'vnet' }],
    vms,
  });
