/** The text that a workflow shows in the Temporal Web UI under *Current Details*, as Markdown. */
import { setCurrentDetails } from '@temporalio/workflow';

/** The page cuts off the last lines, so these are empty. */
const CUT_OFF = ['', '\u00a0'];

/** @param lines put an empty line before a list, or the page takes it for a part of the paragraph. */
export const showDetails = (lines: readonly string[]): void => setCurrentDetails([...lines, ...CUT_OFF].join('\n'));
