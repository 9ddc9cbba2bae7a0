/**
 * Modules that all workflows of a worker share. They are loaded once and frozen instead of once for each workflow,
 * which saves most of the memory and processor time that a new workflow takes. Only modules that keep no state of a
 * workflow belong here.
 */
import { z } from 'zod';

// A library cannot store anything at its first use once it is frozen, so use it here first.
z.object({ any: z.string().min(1) }).safeParse({ any: 1 });
