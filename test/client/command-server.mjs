/**
 * Runs one `farshore` command after the other at its parent's request, with everything loaded already: that takes longer
 * than what most commands do. Each finds the folder, the environment and the outputs of a process of its own.
 * Argument: the compiled `client/program.js`.
 */
import { pathToFileURL } from 'node:url';

const { runCommand } = await import(pathToFileURL(process.argv[2]).href);

const outputs = [process.stdout, process.stderr];
// What is said is kept, whatever this process was started on.
process.stdout.isTTY = false;

async function answer({ args, folder, env }) {
  process.chdir(folder);
  process.env = env;
  process.exitCode = 0;
  const said = ['', ''];
  for (const [index, output] of outputs.entries()) {
    output.write = (text) => {
      said[index] += text;
      return true;
    };
  }
  await runCommand(args);
  process.send({ code: process.exitCode, stdout: said[0], stderr: said[1] });
}

process.on('message', (request) => void answer(request));
process.on('disconnect', () => process.exit());
process.send('ready');
