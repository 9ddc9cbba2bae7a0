// What stands before a Temporal server that speaks no TLS itself: takes connections of clients that have a certificate, and
// passes them on. `tls-front.mjs HOST PORT TARGET_PORT CERTIFICATE KEY CA`
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { createServer } from 'node:tls';

const [host, port, target, certificate, key, ca] = process.argv.slice(2);
const options = {
  cert: readFileSync(certificate),
  key: readFileSync(key),
  ca: readFileSync(ca),
  requestCert: true,
  rejectUnauthorized: true,
  ALPNProtocols: ['h2'],
};
createServer(options, (client) => {
  const server = connect(Number(target), '127.0.0.1');
  const end = () => {
    client.destroy();
    server.destroy();
  };
  client.on('error', end).on('close', end);
  server.on('error', end).on('close', end);
  client.pipe(server).pipe(client);
}).listen(Number(port), host, () => console.log('listening'));
