/**
 * The part of a deployment that is checked: everything in the site file, and everything that protected VMs still depend
 * on although the site file no longer names it.
 */
import { needsPrimarySide, type ProtectedItem } from '../domain/protected-item.js';
import { hostsOf, type Site } from '../domain/site.js';

export interface Part {
  readonly name: string;
  /** Protected VMs that are the only reason to check it; undefined if the site file names it. */
  readonly onlyFor?: readonly string[];
}

export interface ScopeHost extends Part {
  /** Its VMs in the site file. */
  readonly vms: readonly string[];
  /** VMs that are protected there but no longer in the site file. */
  readonly unnamedVms: readonly string[];
}

export interface Scope {
  readonly vmmServers: readonly Part[];
  readonly hosts: readonly ScopeHost[];
}

/** @param items the known items; empty while Temporal does not answer. */
export function scopeOf(site: Site, items: Iterable<ProtectedItem> = []): Scope {
  const wanted = [...items].filter(needsPrimarySide);
  const isNamed = ({ vm }: ProtectedItem) => site.vms.some(({ name }) => name === vm);
  // If the site file moves a VM to another host, the next cycle finds it there.
  const unnamed = wanted.filter((item) => !isNamed(item));
  const hosts = withOthers(
    hostsOf(site).map(({ name }) => name),
    unnamed.map(({ host, vm }) => ({ name: host, vm })),
  );
  return {
    // A VM keeps the VMM server with which it was protected.
    vmmServers: withOthers(
      site.vmmServers.map(({ name }) => name),
      wanted.map(({ vmmServer, vm }) => ({ name: vmmServer, vm })),
    ),
    hosts: hosts.map((part) => ({
      ...part,
      vms: site.vms.filter(({ host }) => host === part.name).map(({ name }) => name),
      unnamedVms: unnamed.filter(({ host }) => host === part.name).map(({ vm }) => vm),
    })),
  };
}

function withOthers(named: readonly string[], used: readonly { readonly name: string; readonly vm: string }[]): Part[] {
  const others = [...new Set(used.map(({ name }) => name))].filter((name) => !named.includes(name)).toSorted();
  return [
    ...named.map((name) => ({ name })),
    ...others.map((name) => ({ name, onlyFor: used.filter((each) => each.name === name).map(({ vm }) => vm) })),
  ];
}

/**
 * @param what its kind, as in "host". @returns the first step of the remedy for an object that the site file no longer
 * names.
 */
export const nameAgain = (what: string, { name, onlyFor = [] }: Part): string =>
  `add the ${what} ${name}, which ${onlyFor.join(', ')} still ${onlyFor.length === 1 ? 'uses' : 'use'}, to the site file again`;
