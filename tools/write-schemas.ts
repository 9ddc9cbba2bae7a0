/** `npm run schemas`: writes the JSON Schemas of the package. `node dist/tools/write-schemas.js` */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { documentFiles, schemaText } from '../config/document-schemas.js';
import { packageFile } from '../config/package-files.js';
import { answerFiles } from '../client/answer-schemas.js';

for (const { file, schema } of [...documentFiles(), ...answerFiles()]) {
  await mkdir(path.dirname(packageFile(file)), { recursive: true });
  await writeFile(packageFile(file), schemaText(schema));
}
