/** `npm run error-page`: writes the page of error codes. `node dist/tools/write-error-page.js` */
import { writeFile } from 'node:fs/promises';
import { packageFile } from '../config/package-files.js';
import { ERROR_PAGE, errorPage } from './error-page.js';

await writeFile(packageFile(ERROR_PAGE), errorPage());
