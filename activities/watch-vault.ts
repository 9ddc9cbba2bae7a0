/** The look at the whole vault for its board. */
import { createHash } from 'node:crypto';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { boardText } from '../domain/board-text.js';
import { boardOf, type Heard } from '../domain/board.js';
import { toIso } from '../domain/time.js';

export interface VaultBoard {
  /** Markdown. */
  readonly text: string;
  /** By which the next look knows whether it says anything else. */
  readonly digest: string;
}

export type VaultActivities = ReturnType<typeof createVaultActivities>;

/** @param hear what is known of the vault now; rejects while it is not known. */
export function createVaultActivities(hear: () => Promise<Heard>) {
  return {
    /**
     * Returns only a board that says something else. While none does, or the vault can't be looked at, it fails on purpose:
     * the server calls it again after a while, which leaves no event in the history of whoever waits.
     * @throws ApplicationFailure Unchanged, retryable
     */
    async watchVault({ known }: { known?: string }): Promise<VaultBoard> {
      const text = boardText(boardOf(await hear(), toIso(Date.now())));
      const digest = createHash('sha256').update(text).digest('hex').slice(0, 16);
      if (digest !== known) return { text, digest };
      throw ApplicationFailure.create({
        type: 'Unchanged',
        message: 'Nothing has changed in this vault; the next look follows',
        category: ApplicationFailureCategory.BENIGN,
      });
    },
  };
}
