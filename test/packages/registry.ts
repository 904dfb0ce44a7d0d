/**
 * An npm registry on loopback that has our packed packages, and sends every other question on to
 * the registry that npm is set up with. So `npm install millrace` runs as it will for users.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { basename } from "node:path";

/** The release script's report of a tarball. */
export interface Packed {
  readonly name: string;
  readonly version: string;
  /** Bytes of the tarball, and of its files. */
  readonly size: number;
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string; readonly size: number }[];
  /** The tarball. */
  readonly path: string;
  /** The folder that the tarball was made from. */
  readonly directory: string;
}

export interface Registry {
  readonly url: string;
  close(): Promise<void>;
}

/** `manifestOf` reads the package.json in a tarball. */
export async function startRegistry(
  packages: readonly Packed[],
  upstream: string,
  manifestOf: (packed: Packed) => object,
): Promise<Registry> {
  let url = "";
  const documents = new Map(packages.map((packed) => [packed.name, () => documentOf(packed, manifestOf(packed), url)]));
  const tarballs = new Map(packages.map(({ path }) => [`/-/${basename(path)}`, path]));
  const server: Server = createServer((request, response) => {
    const path = decodeURIComponent((request.url as string).replace(/\?.*/, ""));
    const tarball = tarballs.get(path);
    const document = documents.get(path.slice(1));
    if (tarball !== undefined) response.end(readFileSync(tarball));
    else if (document !== undefined) response.setHeader("content-type", "application/json").end(document());
    else response.writeHead(302, { location: upstream + (request.url as string).slice(1) }).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return {
    url,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function documentOf({ name, version, path }: Packed, manifest: object, url: string): string {
  const bytes = readFileSync(path);
  const dist = {
    tarball: `${url}-/${basename(path)}`,
    integrity: `sha512-${createHash("sha512").update(bytes).digest("base64")}`,
    shasum: createHash("sha1").update(bytes).digest("hex"),
  };
  return JSON.stringify({
    name,
    "dist-tags": { latest: version },
    versions: { [version]: { ...manifest, dist } },
    time: { [version]: "2026-01-01T00:00:00.000Z" },
  });
}
