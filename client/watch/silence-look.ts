/** A watcher's knowledge of hosts whose silence their VMs have not been told yet. It is updated in the background. */
import type { HostSilence } from '../../domain/host-silence.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { allToldOf } from '../../temporal/untold-silence.js';

/** Each look asks the server once per host, ms. */
const LOOK_EVERY_MS = 5_000;

type Items = ReadonlyMap<string, ProtectedItem>;

export class SilenceLook {
  #found: readonly HostSilence[] = [];
  #looking = false;
  #lookedAt = -Infinity;

  /** @param look finds the silent hosts; it may take as long as listening to a host takes. */
  constructor(private readonly look: (items: Items) => Promise<readonly HostSilence[]>) {}

  /** @returns the VMs, told of what the last look has found. */
  told(items: Items): Items {
    if (!this.#looking && performance.now() - this.#lookedAt >= LOOK_EVERY_MS) void this.#lookAt(items);
    return allToldOf(items, this.#found);
  }

  async #lookAt(items: Items): Promise<void> {
    this.#looking = true;
    // If the look fails, no hosts are reported; the watcher learns elsewhere that the server does not answer.
    this.#found = await this.look(items).catch(() => []);
    this.#lookedAt = performance.now();
    this.#looking = false;
  }
}
