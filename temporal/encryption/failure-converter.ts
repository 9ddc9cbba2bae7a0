/**
 * Puts message and stack of a failure into a payload, so that they are encrypted as well. The SDK loads it by its path
 * in workers of a site with keys: in the process and, through a separate bundle, for the workflows.
 */
import { DefaultFailureConverter } from '@temporalio/common';

export const failureConverter = new DefaultFailureConverter({ encodeCommonAttributes: true });
