/** The retention as an agent is told it: the current policy, and the time, because its host's clock may be wrong. */
import type { Policy } from '../domain/policy.js';
import type { Retention } from '../domain/recovery-point.js';
import { now } from './clock.js';

export const retentionOf = ({ recoveryPointRetentionHours: hours }: Policy): Retention => ({ hours, at: now() });
