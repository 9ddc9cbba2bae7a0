/** Rules that oxlint has no words for. */
import path from 'node:path';
import { ROOMS } from './rooms.js';

/**
 * Pure code may build a date from a value, but not from the clock. `Date.now` and `Math.random` are covered by
 * `no-restricted-properties`.
 */
const noClock = {
  meta: { docs: { description: 'Forbids new Date() and Date() without a value, which read the clock.' } },
  create(context) {
    const check = (node) => {
      if (node.callee.type === 'Identifier' && node.callee.name === 'Date' && node.arguments.length === 0) {
        context.report({ node, message: 'The clock is not read here: take the time as an argument.' });
      }
    };
    return { NewExpression: check, CallExpression: check };
  },
};

/** What of the SDK one file of workflows/ wraps, for all the others. */
const WRAPPED = {
  condition: 'wait.ts',
  allHandlersFinished: 'wait.ts',
  setHandler: 'handlers.ts',
  upsertMemo: 'publish.ts',
  upsertSearchAttributes: 'publish.ts',
};

/** What `workflowInfo()` says of the task under way. */
const OF_TASK = ['historyLength', 'historySize', 'continueAsNewSuggested', 'suggestedContinueAsNewReasons', 'unsafe'];

/**
 * A condition must not read the clock, and a handler must not fail of what it is sent. What is read of the task under way
 * may be of another on replay. All are seen to in one place.
 */
const wrappedOnly = {
  meta: { docs: { description: 'Forbids to import by hand what a file of workflows/ wraps.' } },
  create: (context) => ({
    ImportSpecifier(node) {
      if (node.parent.source.value !== '@temporalio/workflow') return;
      const file = WRAPPED[node.imported.name];
      if (file === undefined || context.filename.endsWith(`workflows/${file}`)) return;
      context.report({ node, message: `In workflows/, \`${node.imported.name}\` is used by way of ${file} only.` });
    },
    Identifier(node) {
      if (!OF_TASK.includes(node.name) || context.filename.endsWith('workflows/history-limit.ts')) return;
      context.report({ node, message: `In workflows/, \`${node.name}\` is read by history-limit.ts only.` });
    },
  }),
};

/** Of a file or folder, from its path below the project's folder; undefined of what is in no room. */
const roomOf = (relative) => {
  const [room] = relative.split(path.sep);
  return Object.hasOwn(ROOMS, room) ? room : undefined;
};

/** The rooms have an order, and an import points down. */
const rooms = {
  meta: { docs: { description: 'Forbids imports of rooms that a room does not know.' } },
  create(context) {
    const here = path.relative(context.cwd, context.filename);
    const room = roomOf(here);
    // The demo is a guest of the site that it starts, and so connects to its disks as guests do.
    if (room === undefined || here.startsWith(path.join('client', 'demo'))) return {};
    const check = (node, isType) => {
      const from = node.source?.value;
      if (typeof from !== 'string' || !from.startsWith('.')) return;
      const other = roomOf(path.join(path.dirname(here), from));
      if (other === undefined || other === room) return;
      const known = ROOMS[room][other];
      if (known === 'all' || (known === 'types' && isType)) return;
      const message =
        known === 'types'
          ? `${room}/ takes types only of ${other}/: \`import type\`.`
          : `${room}/ does not know ${other}/ (.oxlint/rooms.js).`;
      context.report({ node, message });
    };
    return {
      ImportDeclaration: (node) => check(node, node.importKind === 'type'),
      ExportNamedDeclaration: (node) => check(node, node.exportKind === 'type'),
      ExportAllDeclaration: (node) => check(node, node.exportKind === 'type'),
      ImportExpression: (node) => check(node, false),
    };
  },
};

export default { meta: { name: 'farshore' }, rules: { 'no-clock': noClock, rooms, 'wrapped-only': wrappedOnly } };
