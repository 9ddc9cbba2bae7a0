/** Answers of the commands about a site, an instance, or one of its processes. */
import { z } from 'zod';
import { isoTimeSchema } from '../../domain/time.js';
import { heldKindNames } from '../../domain/unclaimed.js';
import { instanceSchema } from '../../config/data-folder.js';
import { vm, planRun, store, bytes, phase, activeSide, health, power, disk } from './parts.js';

const worker = z.strictObject({
  state: z.enum(['working', 'silent', 'unknown']),
  seenAt: isoTimeSchema.exactOptional(),
  answered: z
    .literal(true)
    .exactOptional()
    .describe('True if it answered a request; otherwise it is only known to poll.'),
  mayBeGone: z
    .literal(true)
    .exactOptional()
    .describe('True if it is only known to have polled and its hosts do not answer.'),
});
const network = z.strictObject({ network: z.string(), subnet: z.string() });
const keyFile = z.string().describe('The key file.');
/** Transactions are numbered from 1. */
const transaction = z.int().min(0);
const hypervisor = z.strictObject({ host: z.string().optional(), controlSocket: z.string() });

const heldThing = {
  id: z.string().describe('For `farshore leftovers --remove`.'),
  where: z.string().describe('`store`, `recovery` (the recovery compute), or the name of a host.'),
  kind: z.enum(heldKindNames),
  vm,
  name: z.string().optional().describe('Name of a test VM; for several things, their number or names.'),
  bytes: bytes.optional().describe('Size; left out if it is unknown.'),
  since: isoTimeSchema.optional().describe('When it was made or last changed.'),
  epoch: z.int().optional(),
  reason: z.string(),
} as const;

export const siteAnswers = {
  init: z.strictObject({ file: z.string(), next: z.string().describe('The command to type next.') }),
  'site check': z.strictObject({
    file: z.string(),
    vault: z.string(),
    counts: z.strictObject({
      vmmServers: z.int(),
      clouds: z.int(),
      hosts: z.int(),
      vms: z.int(),
      disks: z.int(),
      networks: z.int(),
      policies: z.int(),
    }),
    declaredBytes: bytes.describe('Total size of the disks whose size the file declares.'),
  }),
  up: instanceSchema.extend({ data: z.string().describe('The data folder.') }),
  down: z.strictObject({
    data: z.string().describe('The data folder.'),
    stopped: z.boolean().describe('False if there was no instance.'),
    pid: z.int().optional(),
  }),
  infrastructure: z.strictObject({
    vault: z.strictObject({
      name: z.string(),
      store,
      storeKind: z.enum(['embedded', 'azure']),
      storeAnswers: z.boolean().describe('True if it can be opened on this machine.'),
      worker,
      recoveryCompute: z.strictObject({
        answers: z.boolean(),
        vmCount: z.int().optional(),
        vms: z.array(z.strictObject({ vm, power })).optional().describe('The replica VMs.'),
      }),
      networks: z.array(z.strictObject({ name: z.string(), subnets: z.array(z.string()) })),
    }),
    vmmServers: z.array(
      z.strictObject({
        name: z.string(),
        provider: worker,
        logicalNetworks: z.array(z.string()),
        vmNetworks: z.array(
          z.strictObject({ name: z.string(), logicalNetwork: z.string(), mappedTo: network.optional() }),
        ),
        clouds: z.array(
          z.strictObject({
            name: z.string(),
            logicalNetworks: z.array(z.string()),
            hosts: z.array(
              z.strictObject({
                host: z.string(),
                agent: worker,
                hypervisor: z.strictObject({ answers: z.boolean() }),
                vms: z.array(
                  z.strictObject({
                    vm,
                    generation: z.int(),
                    phase,
                    health: health.optional(),
                    activeSide: activeSide
                      .optional()
                      .describe('Left out for a VM that is not protected, unless it runs at the recovery site.'),
                    power: power
                      .optional()
                      .describe(
                        'Power of the VM on this host; for a VM that runs at the recovery site, of its source.',
                      ),
                    disks: z.array(disk),
                    networkAdapters: z.array(
                      z.strictObject({ name: z.string(), vmNetwork: z.string(), replica: network.optional() }),
                    ),
                  }),
                ),
              }),
            ),
          }),
        ),
      }),
    ),
  }),
  doctor: z.strictObject({
    status: z.enum(['ok', 'warning', 'problem']).describe('The worst of the checks.'),
    checks: z.array(
      z.strictObject({
        check: z.string(),
        status: z.enum(['ok', 'warning', 'problem', 'skipped']),
        message: z.string(),
        remedy: z.string().optional(),
        configuredBy: z.string().optional(),
        vms: z.array(vm).optional().describe('For the check "Replication": names of the affected VMs.'),
        host: z.string().optional().describe('Set when all VMs of a host that does not answer are affected.'),
      }),
    ),
  }),
  leftovers: z.strictObject({
    leftovers: z.array(
      z.strictObject({
        ...heldThing,
        cleansItself: z
          .string()
          .optional()
          .describe(
            'When Farshore removes it without being asked, for people; without it, it stays until it is removed.',
          ),
      }),
    ),
    kept: z
      .array(z.strictObject({ ...heldThing, command: z.string().optional().describe('The command that removes it.') }))
      .describe('Kept on purpose when protection ended.'),
    unknown: z
      .array(z.string())
      .describe('Hosts that do not answer here, and `recovery` if the recovery compute does not.'),
    removed: z.array(z.string()).describe('Ids of the leftovers that were removed.'),
    notRemoved: z
      .array(z.strictObject({ id: z.string(), reason: z.string() }))
      .describe('Leftovers that should be removed and were kept, because they are in use by now.'),
  }),
  open: z.strictObject({
    query: z.string().optional(),
    workflowId: z.string().optional(),
    url: z.string(),
    opened: z.boolean(),
  }),
  prepare: z.strictObject({ temporal: z.strictObject({ address: z.string(), namespace: z.string() }), store }),
  hypervisor,
  'recovery-compute': hypervisor,
  'keys new': z.strictObject({ file: keyFile, id: z.string(), current: z.string(), made: z.boolean() }),
  'keys list': z.strictObject({
    file: keyFile,
    keys: z.array(z.strictObject({ id: z.string(), fingerprint: z.string(), inUse: z.boolean() })),
  }),
  'keys use': z.strictObject({ file: keyFile, current: z.string() }),
  demo: z.strictObject({
    ok: z.boolean(),
    skipped: z.array(z.string()),
    vms: z.array(
      z.strictObject({
        vm,
        disks: z.array(
          z.strictObject({ name: z.string(), size: bytes, sourceDigest: z.string(), replicaDigest: z.string() }),
        ),
        rpoSeconds: z.number(),
        rtoSeconds: z.number(),
      }),
    ),
    planRun,
    notBooted: z.string().exactOptional().describe('Why the VMs were not booted in QEMU. Left out: they were.'),
    story: z
      .array(
        z.strictObject({
          step: z.enum(['testFailover', 'plannedFailover', 'commit', 'failback', 'reverseReplicate']),
          vm,
          ok: z.boolean(),
          booted: z.boolean().describe('The guest had booted and was working when the step had ended.'),
          seconds: z.number().describe('From the request until the guest worked.'),
        }),
      )
      .describe('In order. Each VM is committed twice: after its failover and after its failback.'),
    transactions: z
      .array(
        z.strictObject({
          vm,
          atTest: transaction.describe('What the guest of the test VM found on its disks.'),
          atSource: transaction.describe('What the source had written when it shut down for the failover.'),
          atRecovery: transaction.describe('What the guest of the replica VM found on its disks.'),
          leftAtRecovery: transaction.describe('What the replica VM had written when it shut down for the failback.'),
          afterFailback: transaction.describe('What the guest found at the primary site.'),
        }),
      )
      .describe('The newest transaction of each VM, as its guest told on its console. Empty: no VM was booted.'),
    screenshots: z.array(
      z.strictObject({
        vm,
        path: z.string().describe('A PNG: the screen of the test VM.'),
        sha256: z.string().describe('Hex, as recorded by the test failover.'),
      }),
    ),
  }),
} as const satisfies Record<string, z.ZodObject>;
