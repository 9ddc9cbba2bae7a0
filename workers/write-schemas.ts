/** `npm run schemas`: writes the JSON Schemas that editors use. `node dist/workers/write-schemas.js` */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { documentKinds, schemaFile, schemaText } from './document-schemas.js';
import { packageFile } from './package-files.js';

for (const kind of documentKinds) {
  const file = packageFile(schemaFile(kind));
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, schemaText(kind));
}
