/** The source from which a watcher reads. It finds the instance and connects, again whenever that is needed. */
import type { Command } from 'commander';
import type { Heard } from '../../domain/board.js';
import type { LocalSite } from '../../local/local-site.js';
import { connectTo, findPlace, heldReplicas, type Place } from '../commands/place.js';
import { UnreachableError } from '../errors.js';
import type { Farshore } from '../farshore.js';
import { overviewOf } from '../overview.js';
import { sourcesToAsk } from '../../local/sources-to-ask.js';
import { silentProviders } from '../../temporal/silent-providers.js';
import { untoldSilences } from '../../temporal/untold-silence.js';
import { hostsWatched } from '../told-items.js';
import { HeldLook } from './held-look.js';
import { SilenceLook } from './silence-look.js';

export class VaultSource {
  #farshore: Farshore | undefined;
  readonly #held = new HeldLook((known) => heldReplicas(this.place.site.site, known));
  readonly #silences = new SilenceLook(async (items) =>
    this.#farshore ? await untoldSilences(hostsWatched(this.#farshore, this.place), items) : [],
  );

  private constructor(
    private readonly command: Command,
    private place: Place,
  ) {}

  /** @throws UnreachableError if there is no instance, DocumentError for the site file. */
  static async open(command: Command): Promise<VaultSource> {
    return new VaultSource(command, await findPlace(command));
  }

  get vault(): string {
    return this.place.site.site.vault.name;
  }

  /** @throws UnreachableError if Temporal does not answer; the next call looks for it again. */
  async read(): Promise<Heard> {
    const { site } = this.place.site;
    try {
      this.#farshore ??= await connectTo(this.place);
      const overview = await overviewOf(this.#farshore);
      const items = this.#silences.told(overview.items);
      const siteVms = site.vms.map(({ name }) => name);
      const local = await this.#local();
      const replicaVms = await local.replicaStates();
      const held = await this.#held.read([...overview.items.keys()].sort(), replicaVms);
      const sourceVms = await local.sourceStates(sourcesToAsk(site, items, held));
      const silent = await silentProviders(this.#farshore.temporal, this.vault, items);
      return { vault: this.vault, siteVms, ...overview, items, held, replicaVms, sourceVms, silentProviders: silent };
    } catch (error) {
      if (!(error instanceof UnreachableError)) throw error;
      await this.close();
      // Temporal may have come back at another address.
      this.place = await findPlace(this.command);
      throw error;
    }
  }

  async close(): Promise<void> {
    const farshore = this.#farshore;
    this.#farshore = undefined;
    await farshore?.close();
  }

  async #local(): Promise<LocalSite> {
    const { LocalSite } = await import('../../local/local-site.js');
    return new LocalSite(this.place.site.site, this.place.data);
  }
}
