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
  /** Called with remarks about that Temporal that do not stop the command. */
  readonly onRemark?: (line: string) => void;
}
