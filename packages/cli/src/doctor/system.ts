/** The limits of the machine, or of the container: Node, cores, memory, open files, the clock. */
import { readFileSync } from "node:fs";
import { availableParallelism, freemem, totalmem } from "node:os";
import { getHeapStatistics } from "node:v8";
import { type Finding, finding } from "./finding.ts";

const MEBI: number = 2 ** 20;
const OLDEST_NODE = [20, 19] as const;
/** From here on waits and wake-ups are as fast as they were measured. */
const TUNED_NODE = 24;
/** Worker threads, arenas and rings of a small service. */
const MEMORY_BYTES_MIN: number = 512 * MEBI;
/** A few thousand connections, and the files of a journal. */
const OPEN_FILES_MIN = 4096;
/** No record can be older than the program. */
const CLOCK_MIN: number = Date.UTC(2024, 0, 1);

/** Reads a file of the system; undefined where there is none. Tests pass one that pretends. */
export type ReadSystemFile = (path: string) => string | undefined;

export function readSystemFile(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    // On another system, or in a sandbox, there is no such file: then nothing is known.
    return undefined;
  }
}

export function systemFindings(read: ReadSystemFile): Finding[] {
  return [
    nodeFinding(process.versions.node),
    coresFinding(read),
    memoryFinding(read),
    filesFinding(read),
    clockFinding(),
  ];
}

export function nodeFinding(version: string): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const data = { version, platform: `${process.platform}-${process.arch}` };
  if (major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1])) {
    return finding("node", "unsafe", `Node ${version} is too old: ${OLDEST_NODE.join(".")} or later is needed`, data);
  }
  if (major < TUNED_NODE) {
    return finding("node", "ok", `Node ${version}; ${TUNED_NODE} and later are faster`, data);
  }
  return finding("node", "ok", `Node ${version}`, data);
}

/** Number of cores that a container may use; undefined if nothing limits it. */
export function coresAllowed(read: ReadSystemFile): number | undefined {
  const [quota, period] = (read("/sys/fs/cgroup/cpu.max") ?? "").split(" ");
  if (Number(quota) > 0 && Number(period) > 0) return Number(quota) / Number(period);
  const first = Number(read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") ?? -1);
  const per = Number(read("/sys/fs/cgroup/cpu/cpu.cfs_period_us") ?? 0);
  return first > 0 && per > 0 ? first / per : undefined;
}

function coresFinding(read: ReadSystemFile): Finding {
  const cores = availableParallelism();
  const allowed = coresAllowed(read);
  const data = { cores, allowed };
  if (allowed !== undefined && allowed < cores) {
    const text = `${cores} cores are seen, but the container may use ${allowed}: set \`processors\` to ${Math.max(1, Math.floor(allowed))}`;
    return finding("cores", "warning", text, data);
  }
  if (cores === 1) return finding("cores", "warning", "one core: handlers, disk and requests share it", data);
  return finding("cores", "ok", `${cores} cores`, data);
}

/** Bytes that a container may use; undefined where nothing limits it. */
export function memoryAllowed(read: ReadSystemFile): number | undefined {
  for (const path of ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]) {
    const bytes = Number(read(path) ?? Number.NaN);
    // The first version says "none" by a number that no machine has.
    if (bytes > 0 && bytes < totalmem()) return bytes;
  }
  return undefined;
}

function memoryFinding(read: ReadSystemFile): Finding {
  const allowed = memoryAllowed(read);
  const bytes = allowed ?? totalmem();
  const heapBytes = getHeapStatistics().heap_size_limit;
  const data = { bytes, isContainer: allowed !== undefined, freeBytes: freemem(), heapBytes };
  const where = allowed === undefined ? "the machine has" : "the container may use";
  const mebi = (count: number): string => `${Math.round(count / MEBI)} MiB`;
  if (bytes < MEMORY_BYTES_MIN) {
    return finding("memory", "warning", `${where} ${mebi(bytes)}: less than ${mebi(MEMORY_BYTES_MIN)} is tight`, data);
  }
  if (heapBytes > bytes) {
    const text = `${where} ${mebi(bytes)}, but Node's heap may grow to ${mebi(heapBytes)}: set --max-old-space-size`;
    return finding("memory", "warning", text, data);
  }
  return finding("memory", "ok", `${where} ${mebi(bytes)}`, data);
}

/** The soft limit of open files; undefined where nothing is known. */
export function openFilesMax(read: ReadSystemFile): number | undefined {
  const limit = /^Max open files\s+(\d+|unlimited)/m.exec(read("/proc/self/limits") ?? "")?.[1];
  if (limit === undefined) return undefined;
  return limit === "unlimited" ? Infinity : Number(limit);
}

function filesFinding(read: ReadSystemFile): Finding {
  const max = openFilesMax(read);
  if (max === undefined) return finding("files", "ok", "the limit of open files isn't known here");
  const data = { max: Number.isFinite(max) ? max : "unlimited" };
  const text = `${data.max} files and connections may be open at once`;
  if (max >= OPEN_FILES_MIN) return finding("files", "ok", text, data);
  return finding("files", "warning", `${text}: raise it with ulimit -n or LimitNOFILE=`, data);
}

function clockFinding(): Finding {
  const now = Date.now();
  const data = { time: new Date(now).toISOString() };
  if (now < CLOCK_MIN) {
    return finding("clock", "unsafe", `the clock says ${data.time}: schedules and back-off would be wrong`, data);
  }
  return finding("clock", "ok", `the clock says ${data.time}`, data);
}
