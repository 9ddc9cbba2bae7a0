/** Reports changes of a VM's replication health to the outside world. */
import { ApplicationFailure } from '@temporalio/common';
import type { Health } from '../domain/health.js';

const ANSWER_TIMEOUT_MS = 10_000;

/** The body of the request, as JSON. */
export interface Alert {
  readonly vault: string;
  readonly vm: string;
  readonly from: Health;
  readonly to: Health;
  /** Worst first; none when the health is Normal. */
  readonly reasons: readonly { readonly reason: string; readonly message: string; readonly since?: string }[];
  /** ISO 8601. */
  readonly at: string;
}

export const alertActivities = (webhook: string | undefined) => ({
  /**
   * Posts the alert, perhaps twice if an answer is lost.
   * @returns false if the site file names no webhook.
   * @throws ApplicationFailure AlertNotTaken, retryable
   */
  async postAlert(alert: Alert): Promise<{ sent: boolean }> {
    if (webhook === undefined) return { sent: false };
    // Messages contain only the origin: the rest of a webhook's address is often a secret.
    const { origin } = new URL(webhook);
    const answer = await fetch(webhook, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(alert),
      redirect: 'error',
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
    }).catch((error: unknown) => {
      throw notTaken(`${origin} cannot be reached: ${reasonOf(error)}`);
    });
    await answer.body?.cancel();
    if (!answer.ok) throw notTaken(`${origin} answered ${answer.status}`);
    return { sent: true };
  },
});

const notTaken = (message: string) => ApplicationFailure.create({ type: 'AlertNotTaken', message });

function reasonOf(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? `${message} (${cause.message})` : message;
}
