/** What both halves of the engine, and the adapters, stand on. */
const BELOW_THE_ENGINE = { domain: 'all', concurrency: 'all', disks: 'all', ports: 'types' };
/** Of what composes the parts: a worker, and whoever checks a site. */
const BELOW_A_WORKER = {
  domain: 'all',
  disks: 'all',
  ports: 'types',
  replication: 'all',
  sites: 'all',
  config: 'all',
  local: 'all',
  temporal: 'all',
};

/**
 * The rooms, lowest first: each imports those named here and no other, so that every arrow points down. `types` takes a
 * room's types alone.
 */
export const ROOMS = {
  domain: {},
  concurrency: {},
  disks: { domain: 'all', concurrency: 'all' },
  ports: { domain: 'types', disks: 'types' },
  tracking: BELOW_THE_ENGINE,
  replication: BELOW_THE_ENGINE,
  sites: { ...BELOW_THE_ENGINE, tracking: 'all' },
  config: { domain: 'all', disks: 'all', sites: 'all' },
  local: { domain: 'all', ports: 'types', replication: 'all', sites: 'all', config: 'all' },
  activities: { domain: 'all', concurrency: 'all', ports: 'types', replication: 'all' },
  workflows: { domain: 'all', activities: 'types' },
  temporal: { domain: 'all', disks: 'all', config: 'all', workflows: 'all' },
  workers: { ...BELOW_A_WORKER, activities: 'all', workflows: 'all' },
  doctor: BELOW_A_WORKER,
  instance: {
    domain: 'all',
    disks: 'all',
    sites: 'all',
    config: 'all',
    local: 'all',
    temporal: 'all',
    workers: 'all',
  },
  client: {
    domain: 'all',
    config: 'all',
    local: 'all',
    workflows: 'all',
    temporal: 'all',
    workers: 'all',
    doctor: 'all',
    instance: 'all',
  },
};
