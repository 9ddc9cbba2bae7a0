/** The page of error codes, as the catalogue has them. */
import { failureCatalogue, unexpectedFailure, type FailureClass } from '../domain/errors.js';

export const ERROR_PAGE = 'docs/errors.md';

const INTRODUCTION = `# Error codes

<!-- Generated from domain/errors.ts by \`npm run error-page\`: do not edit. -->

Every failure that Farshore knows has a code. \`farshore status\`, \`vm show\` and \`job show\` print its message and remedy; the
Web UI shows them too, and \`--json\` answers and logs hold the code itself. The message that you see continues with details:
which disk, host or file, and the values found. What to do when a VM is Critical: [runbook.md](runbook.md).

| Class | Farshore | You |
| --- | --- | --- |
| [Recoverable](#recoverable) | retries the step after 1, 2, 4, 8 and 10 minutes, then every 30 minutes | remove the cause; \`farshore retry VM\` retries the step now |
| [Resynchronization needed](#resynchronization-needed) | marks the VM and resynchronizes it in the window of its policy | can start that now: \`farshore resynchronize VM --now\` |
| [Operator needed](#operator-needed) | does not retry; the VM is Critical | remove the cause, then \`farshore retry VM\` |
`;

const sections: readonly { readonly title: string; readonly class: FailureClass }[] = [
  { title: 'Recoverable', class: 'recoverable' },
  { title: 'Resynchronization needed', class: 'needsResync' },
  { title: 'Operator needed', class: 'nonRecoverable' },
];

const { code, class: classOfUnexpected, remedy } = unexpectedFailure('');
const failures = [
  ...Object.entries(failureCatalogue).map(([code, entry]) => ({ code, ...entry })),
  { code, class: classOfUnexpected, message: 'An error that Farshore does not know: a bug', remedy },
];

export const errorPage = (): string =>
  [
    INTRODUCTION,
    ...sections.map(({ title, class: wanted }) => {
      const rows = failures
        .filter((failure) => failure.class === wanted)
        .map((failure) => `| \`${failure.code}\` | ${cell(failure.message)} | ${cell(failure.remedy)} |`);
      return `## ${title}\n\n| Code | Cause | Remedy |\n| --- | --- | --- |\n${rows.join('\n')}\n`;
    }),
  ].join('\n');

/** A bar would end the cell. */
const cell = (text: string): string => text.replaceAll('|', String.raw`\|`);
