import { expect, it } from 'vitest';
import { checkText, limitOf, testCheckSchema, testChecksSchema } from '../../domain/test-checks.js';

const problems = (value: unknown) => testCheckSchema.safeParse(value).error?.issues.map(({ message }) => message);

it('a check of a test VM looks at the console or runs a program, within a limit', () => {
  const console = testCheckSchema.parse({ console: '^login:', within: '5m' });
  expect([limitOf(console), checkText(console)]).toEqual([300, 'console: ^login:']);
  const command = testCheckSchema.parse({ command: ['/bin/systemctl', 'is-active', 'postgresql'] });
  expect([limitOf(command), checkText(command)]).toEqual([60, '/bin/systemctl is-active postgresql']);
});

it('a check that is not one is refused with what is wrong', () => {
  expect(problems({ within: '10s' })).toEqual(['a check has either console or command']);
  expect(problems({ console: 'x', command: ['y'] })).toEqual(['a check has either console or command']);
  expect(problems({ console: '(' })).toEqual(['not a regular expression']);
  for (const within of ['10', '1h', '0s', 'soon'])
    expect(problems({ console: 'x', within })).toEqual(['expected a time such as 30s or 5m']);
  expect(problems({ console: 'x', within: '11m' })).toEqual(['a check may take at most 10m']);
  expect(problems({ command: [] })).toHaveLength(1);
  expect(testChecksSchema.safeParse(Array.from({ length: 21 }, () => ({ console: 'x' }))).success).toBe(false);
});
