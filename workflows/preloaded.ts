/**
 * What all workflows of a worker share: loaded once, and frozen, instead of once for each of them. It is most of what a
 * workflow that begins takes of memory and processor time. Only what keeps nothing of a workflow may stand here.
 */
import { z } from 'zod';

// What a library works out at its first use it can't note once it is frozen.
z.object({ any: z.string().min(1) }).safeParse({ any: 1 });
