/** `pause`, `resume` and `set-policy`: change how a protected VM is replicated. */
import { Command } from 'commander';
import { outputOf, withFarshore } from './place.js';

export function pauseCommand(): Command {
  return new Command('pause')
    .summary('pause replication of a VM')
    .description(
      "Stops sending a VM's changes until `resume`. Changes are still tracked, so the logs beside its disks " +
        'grow; when they reach half the size of a disk, tracking stops and the VM has to be resynchronized. The ' +
        "VM's health is Warning while it is paused. You can fail over a paused VM.",
    )
    .argument('<vm>', 'name of the VM')
    .addHelpText('after', '\nExample:\n  farshore pause db-01')
    .action(async (vm: string, _options: object, command: Command) => {
      await withFarshore(command, async (farshore) => {
        const { since } = await farshore.pause(vm);
        outputOf(command).result(
          'pause',
          { vm, since },
          `${vm}: replication is paused. To resume: farshore resume ${vm}`,
        );
      });
    });
}

export function resumeCommand(): Command {
  return new Command('resume')
    .summary('resume replication of a VM')
    .description('Ends a pause and sends the changes immediately.')
    .argument('<vm>', 'name of the VM')
    .addHelpText('after', '\nExample:\n  farshore resume db-01')
    .action(async (vm: string, _options: object, command: Command) => {
      await withFarshore(command, async (farshore) => {
        const { cycleDueAt } = await farshore.resume(vm);
        const next = cycleDueAt === undefined ? '' : '; a cycle is due now';
        outputOf(command).result('resume', { vm, cycleDueAt }, `${vm}: replication resumed${next}`);
      });
    });
}

export function setPolicyCommand(): Command {
  return new Command('set-policy')
    .summary('apply another policy to a VM')
    .description(
      'Applies another policy of the site file, or `default`, to a protected VM from its next cycle on. The policy ' +
        'applies until protection ends; if you protect the VM again, it gets the policy of the site file.',
    )
    .argument('<vm>', 'name of the VM')
    .argument('<policy>', 'name of a policy of the site file, or default')
    .addHelpText('after', '\nExample:\n  farshore set-policy db-01 gold')
    .action(async (vm: string, policy: string, _options: object, command: Command) => {
      await withFarshore(command, async (farshore) => {
        const { cycleDueAt } = await farshore.setPolicy(vm, policy);
        const next = cycleDueAt === undefined ? '' : `; the next cycle is due at ${cycleDueAt}`;
        outputOf(command).result(
          'set-policy',
          { vm, policyName: policy, cycleDueAt },
          `${vm}: now uses policy ${policy}${next}`,
        );
      });
    });
}
