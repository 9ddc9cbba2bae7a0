/** What an agent is told of the retention: the policy as it is now, and the time, which is not its host's. */
import type { Policy } from '../domain/policy.js';
import type { Retention } from '../domain/recovery-point.js';
import { now } from './clock.js';

export const retentionOf = ({ recoveryPointRetentionHours: hours }: Policy): Retention => ({ hours, at: now() });
