/**
 * A PostgreSQL server of the benchmark's own, on a Unix socket, as durable as it is by default:
 * `fsync` and `synchronous_commit` are on. It refuses to run as root, so that root gives its
 * directory to the user `postgres`.
 */
import { execFile, spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { startServer, whenListening } from "./server.ts";

/** Where Debian puts the binaries of each version. */
const DEBIAN = "/usr/lib/postgresql";
const PORT = 5432;
/** As its manual advises for a machine of its own that writes much. */
const SETTINGS = {
  listen_addresses: "",
  max_connections: 64,
  shared_buffers: "512MB",
  max_wal_size: "4GB",
  checkpoint_timeout: "15min",
};

export interface Postgres {
  /** The options with which `pg` connects: the socket's directory is the host. */
  readonly connection: {
    readonly host: string;
    readonly port: number;
    readonly user: string;
    readonly database: string;
  };
  readonly connectionString: string;
  readonly close: () => Promise<void>;
}

const PROGRAMS = ["initdb", "postgres", "pg_isready"] as const;

/** The directory of the server's programs, the newest of what Debian has; undefined: not here. */
function binaries(): string | undefined {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN).filter((name) => /^\d+$/.test(name)) : [];
  const newestFirst = versions.map(Number).toSorted((left, right) => right - left);
  const directories = [
    ...newestFirst.map((version) => join(DEBIAN, `${version}`, "bin")),
    ...(process.env["PATH"] ?? "").split(":"),
  ];
  return directories.find((directory) => PROGRAMS.every((program) => existsSync(join(directory, program))));
}

function idOf(flag: "-u" | "-g"): number | undefined {
  const { status, stdout } = spawnSync("id", [flag, "postgres"], { encoding: "utf8" });
  return status === 0 ? Number(stdout) : undefined;
}

/** The owner of the server's process: undefined for our own user. */
function owner(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const [uid, gid] = [idOf("-u"), idOf("-g")];
  if (uid === undefined || gid === undefined) throw new Error("there is no user postgres, and root may not run it");
  return { uid, gid };
}

export function postgresUnavailable(): string | undefined {
  if (binaries() === undefined) return "there is no PostgreSQL server on this computer";
  if (process.getuid?.() === 0 && idOf("-u") === undefined)
    return "PostgreSQL refuses root, and no user postgres is here";
  return undefined;
}

/** Rejects while the server doesn't take queries yet: it accepts connections before that. */
async function isReady(bin: string, host: string): Promise<void> {
  await promisify(execFile)(join(bin, "pg_isready"), [
    "--quiet",
    "--host",
    host,
    "--port",
    `${PORT}`,
    "--username",
    "bench",
    "--dbname",
    "postgres",
  ]);
}

/** Resolves when the server takes queries. `directory` is empty. */
export async function startPostgres(directory: string): Promise<Postgres> {
  const bin = binaries() as string;
  const user = owner();
  const data = join(directory, "postgres");
  const host = mkdtempSync(join(tmpdir(), "bench-pg-"));
  mkdirSync(data);
  if (user !== undefined) {
    // The cell's directory is ours alone; the server has to get through it.
    chmodSync(directory, 0o711);
    for (const path of [data, host]) chownSync(path, user.uid, user.gid);
  }
  const { status, stderr } = spawnSync(
    join(bin, "initdb"),
    ["--pgdata", data, "--username", "bench", "--auth", "trust", "--no-sync", "--encoding", "UTF8", "--locale", "C"],
    { ...user, encoding: "utf8", cwd: dirname(host) },
  );
  if (status !== 0) throw new Error(`initdb failed: ${stderr}`);
  const settings = Object.entries({
    ...SETTINGS,
    unix_socket_directories: host,
    port: PORT,
    log_min_messages: "panic",
  });
  const args = ["-D", data, ...settings.flatMap(([name, value]) => ["-c", `${name}=${value}`])];
  const server = startServer(join(bin, "postgres"), args, { signal: "TERM", owner: user });
  const connection = { host, port: PORT, user: "bench", database: "postgres" };
  await whenListening(server, () => isReady(bin, host));
  return {
    connection,
    connectionString: `postgres://bench@/postgres?host=${encodeURIComponent(host)}&port=${PORT}`,
    close: async () => {
      await server.close();
      rmSync(host, { recursive: true, force: true });
    },
  };
}
