import { expect, test } from 'vitest';
import { painted, tableText } from '../../client/terminal-text.js';

const header = ['VM', 'HEALTH', 'REMARK'];
const rows = [
  ['db-01', 'Critical', 'the host does not answer, and what it has to send grows'],
  ['web-01', 'Normal', 'nbd+unix:///web-01/os?socket=/run/user/1000/farshore-0123456789ab/h0/nbd.sock'],
];
const plain = { columns: Infinity, colour: false };

test('without a terminal, a table is as wide as its content, without colors', () => {
  expect(tableText(header, rows, plain).split('\n')).toEqual([
    'VM      HEALTH    REMARK',
    `db-01   Critical  ${rows[0]![2]}`,
    `web-01  Normal    ${rows[1]![2]}`,
  ]);
});

test('in a terminal, it is no wider than the window, and wraps between words', () => {
  const [first, second] = [rows[0]!, ['web-01', 'Normal', 'can be protected']];
  expect(tableText(header, [first, second], { columns: 44, colour: false }).split('\n')).toEqual([
    'VM      HEALTH    REMARK',
    'db-01   Critical  the host does not answer,',
    '                  and what it has to send',
    '                  grows',
    'web-01  Normal    can be protected',
  ]);
});

test('text that people copy stays in one piece', () => {
  expect(tableText(header, rows, { columns: 40, colour: false })).toContain(rows[1]![2]);
});

test('health is colored, and colors take no width', () => {
  const text = tableText(header, rows, { columns: Infinity, colour: true });
  expect(text).toContain('\u001b[31mCritical\u001b[39m  the host');
  expect(text).toContain('\u001b[32mNormal\u001b[39m    nbd');
  expect(painted('problem', { columns: 80, colour: true })).toBe('\u001b[31mproblem\u001b[39m');
  expect(painted('Critical mass', { columns: 80, colour: true })).toBe('Critical mass');
});
