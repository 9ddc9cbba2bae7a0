/** Certificates for a test: an authority, a server, a client. PEM files in a folder. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Certificates {
  readonly ca: string;
  readonly server: { readonly certificate: string; readonly key: string };
  readonly client: { readonly certificate: string; readonly key: string };
}

/** @param names of the server: `DNS:...` or `IP:...`. */
export function makeCertificates(folder: string, names: readonly string[]): Certificates {
  const file = (name: string) => join(folder, name);
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const newKey = ['-newkey', 'rsa:2048', '-nodes', '-days', '2'];
  openssl('req', '-x509', ...newKey, '-subj', '/CN=test authority', '-keyout', file('ca.key'), '-out', file('ca.pem'));
  const signed = (name: string, extensions: string) => {
    const [certificate, key, request] = [file(`${name}.pem`), file(`${name}.key`), file(`${name}.csr`)];
    writeFileSync(file(`${name}.ext`), extensions);
    openssl('req', ...newKey.slice(0, 3), '-subj', `/CN=${name}`, '-keyout', key, '-out', request);
    const by = ['-CA', file('ca.pem'), '-CAkey', file('ca.key'), '-CAcreateserial', '-days', '2'];
    openssl('x509', '-req', '-in', request, ...by, '-extfile', file(`${name}.ext`), '-out', certificate);
    return { certificate, key };
  };
  return {
    ca: file('ca.pem'),
    server: signed('server', `subjectAltName=${names.join(',')}\nextendedKeyUsage=serverAuth\n`),
    client: signed('client', 'extendedKeyUsage=clientAuth\n'),
  };
}
