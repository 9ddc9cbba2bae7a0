/** Prepares a Temporal server for Farshore: its namespace and search attributes. */
import { searchAttributeTypes } from '../workflows/search-attributes.js';
import { ensureSearchAttributes } from './search-attributes.js';
import { checkSearchAttributes, checkServerVersion, checkTemporal } from './checks.js';
import { connectTemporal, type ConnectTarget } from './connection.js';
import { refusedCredentials } from './problem.js';
import { ensureNamespace } from './server/dev-server.js';

/**
 * Creates missing parts, and changes nothing that exists. @param onProgress called with defects that prevent nothing.
 * @throws TemporalProblem
 */
export async function prepareTemporal(target: ConnectTarget, onProgress: (line: string) => void): Promise<void> {
  const { namespace } = target;
  const connection = await connectTemporal(target);
  try {
    await checkServerVersion(connection, target);
    await ensureNamespace(connection, namespace);
    await ensureSearchAttributes(connection, namespace, searchAttributeTypes).catch(async (error: unknown) => {
      // If there is no permission even to read them, assume that an administrator has created them.
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
