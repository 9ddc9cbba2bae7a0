import { expect, test } from 'vitest';
import { fields, table } from '../../client/output.js';
import { Progress, type Screen } from '../../client/progress.js';

const MiB = 2 ** 20;

class FakeScreen implements Screen {
  text = '';
  constructor(
    readonly isTTY: boolean,
    readonly columns = 80,
  ) {}
  write(text: string): void {
    this.text += text;
  }
  get lines(): string[] {
    return this.text.split('\n').slice(0, -1);
  }
}

test('the columns of a table are as wide as their widest cell, without trailing blanks', () => {
  const rows = [
    ['web-01', 'Protected', 'x'],
    ['a-long-name', '-'],
  ];
  expect(table(['VM', 'PHASE', 'JOB'], rows).split('\n')).toEqual([
    'VM           PHASE      JOB',
    'web-01       Protected  x',
    'a-long-name  -',
  ]);
  expect(table(['VM', 'PHASE'], [])).toBe('VM  PHASE');
});

test('missing fields are left out, and fields with several lines are indented', () => {
  const text = fields([
    ['Job', 'one\ntwo'],
    ['Ended', undefined],
    ['State', 'done'],
  ]);
  expect(text).toBe('Job    one\n       two\nState  done');
});

test('without a terminal, a line is printed for each step and each tenth, and none twice', () => {
  const screen = new FakeScreen(false);
  const progress = new Progress(screen);
  const copying = (bytesDone: number, remark?: string) =>
    progress.update('db-01', { name: 'Copying', bytes: { bytesDone, bytesTotal: 100 * MiB }, remark });
  progress.update('db-01', { name: 'Checking' });
  progress.update('db-01', { name: 'Checking' });
  for (const done of [0, 5 * MiB, 9 * MiB, 10 * MiB, 19 * MiB, 100 * MiB]) copying(done);
  copying(100 * MiB, 'attempt 1 failed');
  for (const seconds of [60, 59, 58]) {
    progress.update('app-01', { name: 'Sending', remark: `next try in ${seconds} s`, remarkOf: 'attempt 1' });
  }
  progress.update('app-01', { name: 'Sending', remark: 'next try in 2 min', remarkOf: 'attempt 2' });
  progress.update('web-01', { name: 'Checking' });
  progress.close();
  expect(screen.lines).toEqual([
    'db-01: Checking',
    'db-01: Copying, 0 % (0 B of 100.0 MiB)',
    'db-01: Copying, 10 % (10.0 MiB of 100.0 MiB)',
    'db-01: Copying, 100 % (100.0 MiB of 100.0 MiB)',
    'db-01: Copying, 100 % (100.0 MiB of 100.0 MiB); attempt 1 failed',
    'app-01: Sending; next try in 60 s',
    'app-01: Sending; next try in 2 min',
    'web-01: Checking',
  ]);
});

test('in a terminal, each machine has one line, which is updated in place', () => {
  const screen = new FakeScreen(true);
  const progress = new Progress(screen);
  progress.update('db-01', { name: 'Copying', bytes: { bytesDone: 50, bytesTotal: 100 } });
  expect(screen.text).toBe('\r\u001b[2Kdb-01 [############............] 50 % (50 B of 100 B)  Copying\n');
  progress.update('web', { name: 'Checking' });
  screen.text = '';
  progress.update('web', { name: 'Copying', bytes: { bytesDone: 0, bytesTotal: 0 } });
  expect(screen.text).toBe(
    '\u001b[2A\r\u001b[2Kdb-01 [############............] 50 % (50 B of 100 B)  Copying\n' +
      '\r\u001b[2Kweb   [########################] 100 % (0 B of 0 B)  Copying\n',
  );
});

test('a line never wraps in a terminal, and later output goes below', () => {
  const screen = new FakeScreen(true, 20);
  const progress = new Progress(screen);
  progress.update('db-01', { name: 'Synchronizing the changes held in the logs' });
  expect(screen.text).toBe('\r\u001b[2Kdb-01  Synchronizin\n');
  const unsized = new FakeScreen(true, 0);
  new Progress(unsized).update('db-01', { name: 'Commit' });
  expect(unsized.text).toBe('\r\u001b[2Kdb-01  Commit\n');
  progress.close();
  screen.text = '';
  progress.update('web-01', { name: 'Commit' });
  expect(screen.text).toBe('\r\u001b[2Kweb-01  Commit\n');
});
