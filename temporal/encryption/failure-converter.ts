/**
 * Puts message and stack of a failure into a payload, so that they are encrypted with the rest. Loaded by the SDK, by its
 * path, in workers whose site has keys: in the process and, by a bundle of its own, beside the workflows.
 */
import { DefaultFailureConverter } from '@temporalio/common';

export const failureConverter = new DefaultFailureConverter({ encodeCommonAttributes: true });
