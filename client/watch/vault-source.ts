/** What a watcher reads from: finds the instance and connects when it has to, again and again. */
import type { Command } from 'commander';
import { connectTo, findPlace, keptReplicas, type Place } from '../commands/place.js';
import { UnreachableError } from '../errors.js';
import type { Farshore } from '../farshore.js';
import { overviewOf } from '../overview.js';
import type { Heard } from './snapshot.js';

/** The store is looked into this often at most, for replicas of VMs that Temporal does not know, ms. */
const STORE_EVERY_MS = 30_000;

export class VaultSource {
  #farshore: Farshore | undefined;
  /** Of which VMs the store was asked, when, and what it said. */
  #kept: { readonly of: string; readonly at: number; readonly vms: readonly string[] } | undefined;

  private constructor(
    private readonly command: Command,
    private place: Place,
  ) {}

  /** @throws UnreachableError without an instance, DocumentError for the site file. */
  static async open(command: Command): Promise<VaultSource> {
    return new VaultSource(command, await findPlace(command));
  }

  get vault(): string {
    return this.place.site.site.vault.name;
  }

  /** @throws UnreachableError when Temporal does not answer; the next call looks for it anew. */
  async read(): Promise<Heard> {
    const { site } = this.place.site;
    try {
      this.#farshore ??= await connectTo(this.place);
      const overview = await overviewOf(this.#farshore);
      const vms = site.vms.map(({ name }) => name);
      return {
        vault: this.vault,
        vms,
        overview,
        unattended: await this.#unattended(vms.filter((vm) => !overview.items.has(vm))),
      };
    } catch (error) {
      if (!(error instanceof UnreachableError)) throw error;
      await this.close();
      // It may have come back elsewhere.
      this.place = await findPlace(this.command);
      throw error;
    }
  }

  async close(): Promise<void> {
    const farshore = this.#farshore;
    this.#farshore = undefined;
    await farshore?.close();
  }

  async #unattended(unknown: readonly string[]): Promise<readonly string[]> {
    const of = unknown.join(' ');
    const now = performance.now();
    if (this.#kept?.of !== of || now - this.#kept.at > STORE_EVERY_MS) {
      this.#kept = { of, at: now, vms: await keptReplicas(this.place.site.site, unknown) };
    }
    return this.#kept.vms;
  }
}
