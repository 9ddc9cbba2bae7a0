/** How a script connects to a site. */
import type { Site } from '../domain/site.js';

export interface ConnectOptions {
  readonly site: Site;
  /**
   * Host and port of a server without TLS. Default: the server that the environment configures for Temporal clients,
   * including TLS and API key; otherwise Temporal's default port on this machine.
   */
  readonly address?: string;
  readonly namespace?: string;
  /** Where address and namespace come from, for error messages. */
  readonly configuredBy?: string;
  /** Called with remarks about the Temporal server that do not stop the command. */
  readonly onRemark?: (line: string) => void;
}
