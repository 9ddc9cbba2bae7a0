/** Runs a TypeScript program of the tests in a process of its own: one that can be killed. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

const ROOT = path.resolve(import.meta.dirname, '../..');

/** A program that is compiled once and started as often as wanted. */
export class ChildProgram {
  private constructor(
    private readonly folder: string,
    private readonly entry: string,
  ) {}

  /** @param source path of the program, from the root of the repository. */
  static async compile(source: string): Promise<ChildProgram> {
    // Inside the repository, so that its packages are found.
    const cache = path.join(ROOT, 'node_modules/.cache');
    await mkdir(cache, { recursive: true });
    const folder = await mkdtemp(path.join(cache, 'child-program-'));
    const configuration = {
      extends: path.join(ROOT, 'tsconfig.json'),
      compilerOptions: {
        rootDir: ROOT,
        outDir: folder,
        noCheck: true,
        incremental: false,
        tsBuildInfoFile: null,
        declaration: false,
        sourceMap: false,
      },
      include: [],
      files: [path.join(ROOT, source)],
    };
    const configurationFile = path.join(folder, 'tsconfig.json');
    await writeFile(configurationFile, JSON.stringify(configuration));
    await writeFile(path.join(folder, 'package.json'), '{ "type": "module" }');
    const compiler = path.join(ROOT, 'node_modules/typescript/bin/tsc');
    await promisify(execFile)(process.execPath, [compiler, '-p', configurationFile]);
    return new ChildProgram(folder, path.join(folder, source.replace(/\.ts$/, '.js')));
  }

  start(...args: string[]): ChildProcess {
    return spawn(process.execPath, [this.entry, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** @returns its exit code, or the signal that ended it. */
export async function ended(child: ChildProcess): Promise<number | string> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return child.exitCode ?? child.signalCode!;
}
