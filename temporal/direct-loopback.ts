/** A proxy in the environment is for other machines: servers on this machine are reached without it. */

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\]|::1):\d+$/i;

/** @param address host and port. */
export const isLoopback = (address: string): boolean => LOOPBACK.test(address);

/** Additional options for a connection to an address; none for other machines. */
export const directIfLoopback = (address: string): { channelArgs?: { 'grpc.enable_http_proxy': 0 } } =>
  isLoopback(address) ? { channelArgs: { 'grpc.enable_http_proxy': 0 } } : {};
