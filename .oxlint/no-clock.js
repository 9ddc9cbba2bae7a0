/**
 * A rule that oxlint has no words for: pure code may build a date from a value, but not from the clock.
 * `Date.now` and `Math.random` are covered by `no-restricted-properties`.
 */
const noClock = {
  meta: { docs: { description: 'Forbids new Date() and Date() without a value, which read the clock.' } },
  create(context) {
    const check = (node) => {
      if (node.callee.type === 'Identifier' && node.callee.name === 'Date' && node.arguments.length === 0) {
        context.report({ node, message: 'The domain has no clock: take the time as an argument.' });
      }
    };
    return { NewExpression: check, CallExpression: check };
  },
};

export default { meta: { name: 'farshore' }, rules: { 'no-clock': noClock } };
