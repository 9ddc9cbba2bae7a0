/**
 * The activities of a killed worker process are lost. The worker that replaces it knows that before the server does,
 * which waits for heartbeats: so the worker reports them, and they are retried immediately under their usual rules.
 *
 * Each process records its running activities in a separate folder, and holds a lock there: a folder without a holder
 * belongs to a dead process. If a record is missing or cannot be reported, only the heartbeat timeout is lost.
 */
import { mkdir, mkdtemp, open, readdir, readFile, rename, rm, writeFile, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Info } from '@temporalio/activity';
import { AsyncCompletionClient, Connection, type ConnectionOptions } from '@temporalio/client';
import { ApplicationFailure, type DataConverter } from '@temporalio/common';
import type { ActivityInterceptorsFactory } from '@temporalio/worker';
import { z } from 'zod';
import { tryLockFile } from '../disks/native.js';
import { failureCatalogue } from '../domain/errors.js';
import { heartbeatOf } from '../temporal/heartbeat-details.js';

const noteSchema = z.object({
  taskToken: z.string(),
  workflowId: z.string(),
  runId: z.string(),
  activityId: z.string(),
});
type Note = z.infer<typeof noteSchema>;

const LOCK = 'lock';
/** The prefix of a folder that is still being created. */
const UNHELD = '.';
/** After this time, the server has noticed by itself, ms. */
const GIVE_UP_MS = 30_000;
const PAUSE_MS = 500;

export class RunningActivities {
  private constructor(
    private readonly folder: string,
    private readonly own: string,
    /** The lock lasts as long as the process. */
    private readonly held: FileHandle,
  ) {}

  /** @param folder of this worker's processes, created if missing. @throws the errno of the file system. */
  static async open(folder: string): Promise<RunningActivities> {
    await mkdir(folder, { recursive: true });
    const made = await mkdtemp(path.join(folder, `${UNHELD}${process.pid}-`));
    const own = path.join(folder, path.basename(made).slice(UNHELD.length));
    const held = await open(path.join(made, LOCK), 'w');
    if (!tryLockFile(held.fd, 'exclusive')) throw new Error(`${made} is held by another process`);
    // It becomes visible here, already locked, so that no other process takes it for that of a dead one.
    await rename(made, own);
    return new RunningActivities(folder, own, held);
  }

  /** Records each activity while it runs. */
  readonly interceptor: ActivityInterceptorsFactory = ({ info }) => ({
    inbound: {
      execute: async (input, next) => {
        const file = info.isLocal ? undefined : path.join(this.own, `${info.activityId}-${info.attempt}-${Date.now()}`);
        if (file) await writeFile(file, JSON.stringify(noteOf(info))).catch(() => undefined);
        try {
          return await next(input);
        } finally {
          if (file) await rm(file, { force: true }).catch(() => undefined);
        }
      },
    },
  });

  /**
   * Reports the activities of dead processes as lost to the server, and deletes their records. Resolves when the server
   * knows, or has noticed by itself. @returns the workflow ids of the activities that it accepted.
   */
  async reportLost(
    connectionOptions: ConnectionOptions,
    namespace: string,
    dataConverter: DataConverter,
  ): Promise<string[]> {
    const dead = await this.#dead();
    const notes = (await Promise.all(dead.map(readNotes))).flat();
    let reported: string[] = [];
    if (notes.length > 0) {
      const connection = Connection.lazy(connectionOptions);
      const client = new AsyncCompletionClient({ connection, namespace, dataConverter });
      const taken = await Promise.all(notes.map((note) => reportUntil(client, connection, note)));
      reported = notes.filter((_, index) => taken[index]).map(({ workflowId }) => workflowId);
      await connection.close();
    }
    for (const folder of dead) await rm(folder, { recursive: true, force: true });
    return reported;
  }

  async close(): Promise<void> {
    await rm(this.own, { recursive: true, force: true });
    await this.held.close();
  }

  async #dead(): Promise<string[]> {
    const dead: string[] = [];
    for (const name of await readdir(this.folder)) {
      const folder = path.join(this.folder, name);
      if (folder === this.own || name.startsWith(UNHELD)) continue;
      const lock = await open(path.join(folder, LOCK), 'r').catch(() => undefined);
      // A folder without its lock file is being removed.
      if (!lock) continue;
      if (tryLockFile(lock.fd, 'exclusive')) dead.push(folder);
      await lock.close();
    }
    return dead;
  }
}

function noteOf({ taskToken, workflowExecution, activityId }: Info): Note {
  const { workflowId, runId } = workflowExecution ?? { workflowId: '', runId: '' };
  return { taskToken: Buffer.from(taskToken).toString('base64'), workflowId, runId, activityId };
}

async function readNotes(folder: string): Promise<Note[]> {
  const notes: Note[] = [];
  for (const name of await readdir(folder).catch(() => [])) {
    if (name === LOCK) continue;
    try {
      notes.push(noteSchema.parse(JSON.parse(await readFile(path.join(folder, name), 'utf8'))));
    } catch {
      // The process was killed while it wrote the record.
    }
  }
  return notes;
}

/** The server may be restarting. @returns false if it no longer knows such an activity. */
async function reportUntil(client: AsyncCompletionClient, connection: Connection, note: Note): Promise<boolean> {
  const deadline = performance.now() + GIVE_UP_MS;
  for (;;) {
    try {
      const failure = ApplicationFailure.create({
        type: 'WorkerLost',
        message: failureCatalogue.WorkerLost.message,
        details: await lastHeartbeat(client, connection, note),
      });
      await client.fail(Buffer.from(note.taskToken, 'base64'), failure);
      return true;
    } catch (error) {
      if (isGone(error) || performance.now() > deadline) return false;
      await sleep(PAUSE_MS);
    }
  }
}

/** The progress as far as the server knows it, which a heartbeat timeout would also contain. */
async function lastHeartbeat(client: AsyncCompletionClient, connection: Connection, note: Note): Promise<unknown[]> {
  const { workflowId, runId, activityId } = note;
  const { namespace, loadedDataConverter } = client.options;
  const { pendingActivities } = await connection.workflowService.describeWorkflowExecution({
    namespace,
    execution: { workflowId, runId },
  });
  const pending = pendingActivities?.find((candidate) => candidate.activityId === activityId);
  return heartbeatOf(pending, loadedDataConverter);
}

/** The activity has ended meanwhile in some way. */
const isGone = (error: unknown): boolean =>
  error instanceof Error && (error.name === 'ActivityNotFoundError' || (error as { code?: unknown }).code === 5);
