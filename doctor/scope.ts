/**
 * What of a deployment is looked at: all that the site file names, and what protected VMs still have to do with though it
 * does not name it any more.
 */
import { needsPrimarySide, type ProtectedItem } from '../domain/protected-item.js';
import { hostsOf, type Site } from '../domain/site.js';

export interface Part {
  readonly name: string;
  /** Protected VMs that are the only reason to look at it; undefined of one that the site file names. */
  readonly onlyFor?: readonly string[];
}

export interface ScopeHost extends Part {
  /** Its VMs that the site file names. */
  readonly vms: readonly string[];
  /** VMs that are protected there, and are named no more. */
  readonly unnamedVms: readonly string[];
}

export interface Scope {
  readonly vmmServers: readonly Part[];
  readonly hosts: readonly ScopeHost[];
}

/** @param items that are known; none while Temporal does not answer. */
export function scopeOf(site: Site, items: Iterable<ProtectedItem> = []): Scope {
  const wanted = [...items].filter(needsPrimarySide);
  const isNamed = ({ vm }: ProtectedItem) => site.vms.some(({ name }) => name === vm);
  // A VM that the site file gives to another host is found there by the next cycle.
  const unnamed = wanted.filter((item) => !isNamed(item));
  const hosts = withOthers(
    hostsOf(site).map(({ name }) => name),
    unnamed.map(({ host, vm }) => ({ name: host, vm })),
  );
  return {
    // That of a VM stays the one it was protected by.
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

/** @param what it is, as in "host". @returns the first thing to do about one that the site file does not name. */
export const nameAgain = (what: string, { name, onlyFor = [] }: Part): string =>
  `add the ${what} ${name}, which ${onlyFor.join(', ')} still ${onlyFor.length === 1 ? 'uses' : 'use'}, to the site file again`;
