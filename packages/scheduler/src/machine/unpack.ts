import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";

/**
 * Takes an argument out of the port that it came in (calls/parcels.ts). Throws what reading the
 * message throws.
 */
export function unpack(port: MessagePort): unknown {
  try {
    return (receiveMessageOnPort(port) as { message: unknown } | undefined)?.message;
  } finally {
    port.close();
  }
}
