/** What a workflow shows of itself in the Temporal Web UI, as Markdown, under *Current Details*. */
import { setCurrentDetails } from '@temporalio/workflow';

/** The page makes room for less than it shows: what it cuts off is to be empty. */
const CUT_OFF = ['', '\u00a0'];

/** @param lines a list has an empty line before it, or the page takes it for the end of its paragraph. */
export const showDetails = (lines: readonly string[]): void => setCurrentDetails([...lines, ...CUT_OFF].join('\n'));
