/** The specification of a VM at the recovery site, as requests carry it and as its folder keeps it. */
import { z } from 'zod';
import { nameSchema } from '../../domain/ids.js';
import { replicaDescriptionSchema } from '../../domain/vault.js';

export const pointDiskSchema = z.object({
  replica: z.object({ vm: nameSchema, disk: nameSchema }),
  snapshot: z.string().min(1),
});

export const replicaVmSpecSchema = z.object({
  description: replicaDescriptionSchema,
  epoch: z.int().min(0),
  disks: z
    .array(z.object({ name: nameSchema, ...pointDiskSchema.shape }))
    .min(1)
    .readonly(),
});
