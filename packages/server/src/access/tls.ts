/** TLS from files, and client certificates. */
import { readFileSync } from "node:fs";
import { createSecureContext, type TlsOptions } from "node:tls";
import { messageOf } from "@millrace/base";
import { serverError } from "../errors.ts";

export interface TlsFiles {
  /** Paths of PEM files. */
  readonly cert: string;
  readonly key: string;
  /** The authority whose certificates clients need: without one there is no connection. */
  readonly ca?: string | undefined;
}

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw serverError("ERR_SERVER_LISTEN", `${path} can't be read: ${messageOf(cause)}`, { cause, details: { path } });
  }
}

/** A handshake has to be over in `handshakeMs`. Throws `ERR_SERVER_LISTEN`. */
export function tlsOptions({ cert, key, ca }: TlsFiles, handshakeMs: number): TlsOptions {
  const files = { cert: read(cert), key: read(key), ...(ca === undefined ? undefined : { ca: read(ca) }) };
  try {
    createSecureContext(files);
  } catch (cause) {
    const paths = Object.values({ cert, key, ca }).filter((path) => path !== undefined);
    throw serverError("ERR_SERVER_LISTEN", `TLS can't use ${paths.join(", ")}: ${messageOf(cause)}`, {
      cause,
      details: { cert, key, ca },
    });
  }
  return {
    ...files,
    handshakeTimeout: handshakeMs,
    minVersion: "TLSv1.2",
    ...(ca === undefined ? undefined : { requestCert: true, rejectUnauthorized: true }),
  };
}
