/** The look at the whole vault for its board. */
import { createHash } from 'node:crypto';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { boardText } from '../domain/board-text.js';
import { boardOf, type Heard } from '../domain/board.js';
import { toIso } from '../domain/time.js';

export interface VaultBoard {
  /** Markdown. */
  readonly text: string;
  /** Tells the next look whether the board has changed. */
  readonly digest: string;
}

export type VaultActivities = ReturnType<typeof createVaultActivities>;

/** @param hear returns the current state of the vault; rejects while it is not known. */
export function createVaultActivities(hear: () => Promise<Heard>) {
  return {
    /**
     * Returns only a board that has changed. If it has not, or the vault cannot be read, it fails on purpose: the
     * server then calls it again after a while, which leaves no event in the history of the waiting workflow.
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
