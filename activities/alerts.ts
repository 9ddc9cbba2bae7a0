/** Tells the outside world that the replication health of a VM has changed. */
import { ApplicationFailure } from '@temporalio/common';
import type { Health } from '../domain/health.js';

const ANSWER_TIMEOUT_MS = 10_000;

/** What is posted, as JSON. */
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
   * Posts the alert; may do so twice when an answer is lost.
   * @returns false where the site file names no webhook.
   * @throws ApplicationFailure AlertNotTaken, retryable
   */
  async postAlert(alert: Alert): Promise<{ sent: boolean }> {
    if (webhook === undefined) return { sent: false };
    // Nothing but the origin is told: the rest of such an address is often a secret.
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
