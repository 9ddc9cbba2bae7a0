/** `completion`: scripts with which a shell completes the names of commands and options. */
import { Argument, Command } from 'commander';

const SHELLS = ['bash', 'zsh'] as const;

export function completionCommand(): Command {
  return new Command('completion')
    .summary('print a script that lets the Tab key complete commands')
    .description(
      'Prints a script that lets the Tab key complete the names of commands and options. Write it to a file that ' +
        'your shell reads when it starts.',
    )
    .addArgument(new Argument('<shell>', 'the shell that reads the script').choices(SHELLS))
    .addHelpText(
      'after',
      '\nExample:\n  farshore completion bash > ~/.local/share/bash-completion/completions/farshore',
    )
    .action((shell: (typeof SHELLS)[number], _options: object, command: Command) => {
      const script = bashScript(command.parent!);
      process.stdout.write(shell === 'zsh' ? `autoload -U +X bashcompinit && bashcompinit\n${script}` : script);
    });
}

/** Works in zsh too. */
function bashScript(farshore: Command): string {
  const words = wordsByPath(farshore);
  const paths = [...words.keys()].filter((path) => path !== '').map((path) => `' ${path}'`);
  const cases = [...words].map(([path, following]) => `    '${path}') words='${following.join(' ')}' ;;`);
  return `_farshore() {
  local current="\${COMP_WORDS[COMP_CWORD]}" path= word words=
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$path $word" in
      ${paths.join('|')}) path="$path $word" ;;
    esac
  done
  case "\${path# }" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o bashdefault -o default -F _farshore farshore
`;
}

/** For each command path, as it is typed: the words that may follow it. */
function wordsByPath(farshore: Command): Map<string, string[]> {
  const common = longOptions(farshore).filter((option) => option !== '--version');
  const words = new Map([['', [...namesOf(farshore), ...longOptions(farshore), '--help']]]);
  const add = (command: Command, path: string) => {
    words.set(path, [...namesOf(command), ...new Set([...longOptions(command), ...common, '--help'])]);
    for (const child of command.commands) add(child, `${path} ${child.name()}`);
  };
  for (const child of farshore.commands) add(child, child.name());
  return words;
}

const namesOf = ({ commands }: Command): string[] => commands.map((child) => child.name());

const longOptions = ({ options }: Command): string[] =>
  options.flatMap(({ long, hidden }) => (long === undefined || long === null || hidden ? [] : [long]));
