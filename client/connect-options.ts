/** What connects a script to a site. */
import type { Site } from '../domain/site.js';

export interface ConnectOptions {
  readonly site: Site;
  /**
   * Host and port of a server without TLS; else what the environment configures for Temporal clients, TLS and API key
   * included, else Temporal's usual port here.
   */
  readonly address?: string;
  readonly namespace?: string;
  /** Where these two come from, for what is said of them when they can't be used. */
  readonly configuredBy?: string;
  /** Told what is not well with that Temporal, but hinders nobody. */
  readonly onRemark?: (line: string) => void;
}
