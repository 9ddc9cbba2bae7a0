/** `help`: prints the help page of a command or subcommand, as in `help vm start`. */
import { Command } from 'commander';

/** Replaces commander's own help command, which takes only one name and prints the general page for an unknown one. */
export function helpCommand(): Command {
  return new Command('help')
    .summary('show help for a command')
    .description('Shows the help of a command, or lists all commands.')
    .argument('[command...]', 'name of a command, such as `vm start`')
    .action(async (names: readonly string[], _options: object, command: Command) => {
      let at = command.parent!;
      for (const name of names) {
        const found = at.commands.find((child) => child.name() === name || child.aliases().includes(name));
        if (found) {
          at = found;
          continue;
        }
        if (at.commands.length === 0) {
          return at.error(`error: '${pathOf(at)}' has no commands of its own, and so no '${name}'`, {
            code: 'commander.unknownCommand',
          });
        }
        // The same answer as for a mistyped command, with the most similar name. A group alone does nothing.
        await at.parseAsync([name], { from: 'user' });
        return;
      }
      at.help();
    });
}

const pathOf = (command: Command): string =>
  command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();
