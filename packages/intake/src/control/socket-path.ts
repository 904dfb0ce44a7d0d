/**
 * Where the control socket of a journal lies: in its directory, however long that path is.
 *
 * A socket's address holds 107 bytes on Linux, 103 on macOS. On Linux a longer path is given
 * through a descriptor of its directory, `/proc/self/fd/N`, so that the file lies in the directory
 * all the same: a file elsewhere would need a rule by which every tool finds it, whatever its
 * environment.
 */
import { closeSync, constants, openSync } from "node:fs";
import { join, resolve } from "node:path";
import { intakeError } from "../errors.ts";

const SOCKET_NAME = "control.sock";
const ADDRESS_BYTES_MAX = process.platform === "linux" ? 107 : 103;

export interface SocketAddress {
  readonly address: string;
  /** The address is of no use any more. */
  release(): void;
}

/** Throws `ERR_CONTROL_SOCKET` where a path is too long and there is no other way. */
export function socketAddress(directory: string): SocketAddress {
  const address = join(resolve(directory), SOCKET_NAME);
  if (Buffer.byteLength(address) <= ADDRESS_BYTES_MAX) return { address, release: () => {} };
  if (process.platform !== "linux") {
    const bytes = Buffer.byteLength(address);
    throw intakeError("ERR_CONTROL_SOCKET", `the path of the control socket has ${bytes} bytes: ${address}`, {
      details: { directory, bytes, bytesMax: ADDRESS_BYTES_MAX },
    });
  }
  const fd = openSync(resolve(directory), constants.O_RDONLY | constants.O_DIRECTORY);
  return { address: `/proc/self/fd/${fd}/${SOCKET_NAME}`, release: () => closeSync(fd) };
}
