/** What processes listen on, as Linux tells it. */
import { readdir, readFile, readlink } from 'node:fs/promises';

export interface Listeners {
  /** `address:port` in the kernel's hexadecimal. */
  readonly tcp: readonly string[];
  /** Paths. */
  readonly unix: readonly string[];
}

const TCP_LISTEN = '0A';
/** Flag of a unix socket that takes connections. */
const UNIX_ACCEPTS = 0x10000;

export async function listenersOf(pids: readonly number[]): Promise<Listeners> {
  const sockets = new Set((await Promise.all(pids.map(socketsOf))).flat());
  const rows = async (file: string) =>
    (await readFile(`/proc/net/${file}`, 'utf8'))
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/));
  const tcp = [...(await rows('tcp')), ...(await rows('tcp6'))]
    .filter((row) => row[3] === TCP_LISTEN && sockets.has(row[9]!))
    .map((row) => row[1]!);
  const unix = (await rows('unix'))
    .filter((row) => row[7] !== undefined && (parseInt(row[3]!, 16) & UNIX_ACCEPTS) !== 0 && sockets.has(row[6]!))
    .map((row) => row[7]!);
  return { tcp, unix };
}

/** 127.0.0.0/8 and ::1. The kernel writes an address in words of the machine's byte order. */
export const isLoopback = (listener: string): boolean =>
  /^[0-9A-F]{6}7F:|^0{24}01000000:|^0{16}FFFF0000[0-9A-F]{6}7F:/.test(listener);

/** Inodes of a process's sockets. */
async function socketsOf(pid: number): Promise<string[]> {
  const folder = `/proc/${pid}/fd`;
  const targets = await Promise.all((await readdir(folder)).map((fd) => readlink(`${folder}/${fd}`).catch(() => '')));
  return targets.flatMap((target) => /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? []);
}
