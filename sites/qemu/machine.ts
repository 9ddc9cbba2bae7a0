/** QEMU's arguments for a machine: hardware from the VM's description, disks as NBD exports. */
import type { Hardware } from '../../domain/hardware.js';
import type { DirectBoot } from '../../domain/site.js';
import { parseNbdUri } from '../nbd/nbd-protocol.js';
import type { Accelerator } from './accelerator.js';
import type { UefiFirmware } from './firmware.js';
import type { GuestNetwork } from './guest-network.js';

export interface Machine {
  readonly name: string;
  readonly hardware: Hardware;
  /** The NBD URI of each disk, keyed by name. */
  readonly disks: ReadonlyMap<string, string>;
  readonly directBoot?: DirectBoot | undefined;
  /** Undefined for a machine with BIOS. */
  readonly uefi?: { readonly firmware: UefiFirmware; readonly variables: string } | undefined;
  /** Keyed by adapter name; an adapter that is absent is not connected. */
  readonly networks?: ReadonlyMap<string, GuestNetwork> | undefined;
}

/** Files of a machine's QEMU. No other QEMU uses these sockets. */
export interface MachineFiles {
  readonly controlSocket: string;
  /** Holds QEMU's process ID; QEMU removes it when it exits normally. */
  readonly pidFile: string;
  /** Socket of the guest agent. */
  readonly agentSocket: string;
  /** Log of the guest's first serial port; QEMU appends to it. */
  readonly console: string;
}

const MiB = 1024 * 1024;

/** @returns the arguments, without the program. */
export function machineArguments(machine: Machine, files: MachineFiles, accelerator: Accelerator): string[] {
  const { name, hardware, directBoot, uefi } = machine;
  return [
    ...['-name', `guest=${escaped(name)}`, '-no-user-config', '-nodefaults', '-display', 'none'],
    // An emulator needs neither child processes nor more privileges, and a guest may try to break out of it.
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...['-accel', accelerator === 'tcg' ? 'tcg,thread=multi' : accelerator],
    ...['-machine', machineType(uefi?.firmware)],
    ...['-cpu', 'max', '-smp', `${hardware.processors}`, '-m', `${Math.ceil(hardware.memoryBytes / MiB)}M`],
    ...['-rtc', 'base=utc', '-vga', 'std'],
    ...(uefi ? firmwareArguments(uefi) : []),
    ...(directBoot ? directBootArguments(directBoot) : []),
    ...['-pidfile', files.pidFile],
    ...['-qmp', `unix:${escaped(files.controlSocket)},server=on,wait=off`],
    ...['-chardev', `file,id=console,path=${escaped(files.console)},append=on`, '-serial', 'chardev:console'],
    ...['-device', 'virtio-serial-pci'],
    ...['-chardev', `socket,id=agent,path=${escaped(files.agentSocket)},server=on,wait=off`],
    ...['-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0'],
    ...diskArguments(machine),
    ...networkArguments(machine),
  ];
}

/** Machines with BIOS have IDE, like generation 1 of Hyper-V. */
function machineType(firmware: UefiFirmware | undefined): string {
  if (!firmware) return 'pc';
  return firmware.needsSmm ? 'q35,smm=on' : 'q35';
}

function firmwareArguments({ firmware, variables }: NonNullable<Machine['uefi']>): string[] {
  return [
    ...(firmware.needsSmm ? ['-global', 'driver=cfi.pflash01,property=secure,value=on'] : []),
    ...['-drive', `if=pflash,unit=0,format=raw,readonly=on,file=${escaped(firmware.code)}`],
    ...['-drive', `if=pflash,unit=1,format=raw,file=${escaped(variables)}`],
  ];
}

function directBootArguments({ kernel, initialRamDisk, commandLine }: DirectBoot): string[] {
  return [
    ...['-kernel', kernel],
    ...(initialRamDisk === undefined ? [] : ['-initrd', initialRamDisk]),
    ...(commandLine === undefined ? [] : ['-append', commandLine]),
  ];
}

function diskArguments({ hardware, disks, uefi, directBoot }: Machine): string[] {
  const listed = hardware.disks.map((disk, index) => ({ ...disk, node: `disk${index}`, uri: disks.get(disk.name) }));
  const hasScsi = listed.some(({ bus }) => bus === 'SCSI');
  let ides = 0;
  return [
    ...(hasScsi ? ['-device', 'virtio-scsi-pci,id=scsi'] : []),
    ...listed.flatMap(({ name, bus, node, uri }, index) => {
      if (uri === undefined) throw new Error(`the disk ${name} is not served`);
      const { address, exportName } = parseNbdUri(uri);
      const server =
        'socketPath' in address
          ? { type: 'unix', path: address.socketPath }
          : { type: 'inet', host: address.host, port: `${address.port}` };
      const block = { driver: 'nbd', 'node-name': node, server, export: exportName, discard: 'unmap' };
      // A directly booted kernel takes the first place in the boot order itself.
      const order = directBoot ? '' : `,bootindex=${index}`;
      const device = `drive=${node},serial=${escaped(name)}${order}`;
      // A q35 machine has a port for each disk; a pc machine has two buses with two disks each.
      const ide = (place: number) => (uefi ? `bus=ide.${place}` : `bus=ide.${place >> 1},unit=${place & 1}`);
      return [
        ...['-blockdev', JSON.stringify(block)],
        ...['-device', bus === 'SCSI' ? `scsi-hd,bus=scsi.0,${device}` : `ide-hd,${ide(ides++)},${device}`],
      ];
    }),
  ];
}

function networkArguments({ hardware, networks }: Machine): string[] {
  return hardware.networkAdapters.flatMap(({ name, macAddress }, index) => {
    const network = networks?.get(name);
    const device = `virtio-net-pci${macAddress === undefined ? '' : `,mac=${macAddress}`}`;
    if (!network) return ['-device', device];
    const { address, port } = network;
    return [
      // Uses only the loopback interface, so that no packet leaves the machine.
      ...['-netdev', `socket,id=net${index},mcast=${address}:${port},localaddr=127.0.0.1`],
      ...['-device', `${device},netdev=net${index}`],
    ];
  });
}

/** Doubles commas, because a single comma ends a value in QEMU's options. */
export const escaped = (value: string): string => value.replaceAll(',', ',,');
