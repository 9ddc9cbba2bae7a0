/** What Farshore needs of a Temporal server before anything runs: its namespace and search attributes. */
import { searchAttributeTypes } from '../workflows/search-attributes.js';
import { ensureSearchAttributes } from './search-attributes.js';
import { checkSearchAttributes, checkServerVersion, checkTemporal } from './checks.js';
import { connectTemporal, type ConnectTarget } from './connection.js';
import { refusedCredentials } from './problem.js';
import { ensureNamespace } from './server/dev-server.js';

/**
 * Makes what is missing; what is there stays as it is. @param onProgress told what is not well, but hinders nobody.
 * @throws TemporalProblem
 */
export async function prepareTemporal(target: ConnectTarget, onProgress: (line: string) => void): Promise<void> {
  const { namespace } = target;
  const connection = await connectTemporal(target);
  try {
    await checkServerVersion(connection, target);
    await ensureNamespace(connection, namespace);
    await ensureSearchAttributes(connection, namespace, searchAttributeTypes).catch(async (error: unknown) => {
      // Where they may not even be asked for, whoever may has made them.
      if ((await checkSearchAttributes(connection, target)) !== undefined) throw error;
    });
    const remark = await checkTemporal(connection, target);
    if (remark) onProgress(`Note: ${remark.message}`);
  } catch (error) {
    throw refusedCredentials(error, target) ?? error;
  } finally {
    await connection.close();
  }
}
