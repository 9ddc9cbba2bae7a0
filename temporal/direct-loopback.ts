/** A proxy that the environment names is for other machines: what listens on this one is reached without it. */

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\]|::1):\d+$/i;

/** @param address host and port. */
export const isLoopback = (address: string): boolean => LOOPBACK.test(address);

/** What a connection to an address needs beside the address; nothing for other machines. */
export const directIfLoopback = (address: string): { channelArgs?: { 'grpc.enable_http_proxy': 0 } } =>
  isLoopback(address) ? { channelArgs: { 'grpc.enable_http_proxy': 0 } } : {};
