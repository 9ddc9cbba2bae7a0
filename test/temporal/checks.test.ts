import { expect, test } from 'vitest';
import { retentionProblem } from '../../temporal/checks.js';

test('what is to be typed takes an address and a namespace of any characters', () => {
  const target = { address: '[::1]:7233', namespace: "the lab's", configuredBy: 'a test', namespaceBy: 'a test' };
  expect(retentionProblem(60_000, target)?.remedy).toBe(
    String.raw`temporal operator namespace update --address '[::1]:7233' --namespace 'the lab'\''s' --retention 90d`,
  );
});
