import { expect, test } from 'vitest';
import { formatAddress, MetricsAddressError, parseMetricsAddress } from '../../workers/metrics-address.js';

test.each([
  ['9464', '127.0.0.1', '127.0.0.1:9464'],
  ['127.0.0.1:9464', '127.0.0.1', '127.0.0.1:9464'],
  ['0.0.0.0:1', '0.0.0.0', '0.0.0.0:1'],
  ['localhost:65535', 'localhost', 'localhost:65535'],
  ['[::1]:9464', '::1', '[::1]:9464'],
])('%s', (text, host, written) => {
  const address = parseMetricsAddress(text, '--metrics');
  expect(address.host).toBe(host);
  expect(formatAddress(address)).toBe(written);
});

test.each([
  '',
  'localhost',
  ':9464',
  '127.0.0.1:',
  '127.0.0.1:0',
  '65536',
  'a:99999',
  '::1:9464',
  'http://a:1',
  'a b:1',
])('refuses "%s"', (text) => {
  expect(() => parseMetricsAddress(text, '--metrics')).toThrow(MetricsAddressError);
  expect(() => parseMetricsAddress(text, '--metrics')).toThrow(
    `--metrics: not an address to serve metrics at (value: ${JSON.stringify(text)})\n  Remedy: write HOST:PORT`,
  );
});
