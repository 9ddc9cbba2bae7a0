import { expect, test } from 'vitest';
import { retentionProblem } from '../../temporal/checks.js';

test('a suggested command quotes an address and a namespace with any characters', () => {
  const target = { address: '[::1]:7233', namespace: "the lab's", configuredBy: 'a test', namespaceBy: 'a test' };
  expect(retentionProblem(60_000, target)?.remedy).toBe(
    String.raw`temporal operator namespace update --address '[::1]:7233' --namespace 'the lab'\''s' --retention 90d`,
  );
});
