/**
 * Finds the kind of file system under a journal's directory. A sync on a memory file system
 * promises nothing, and one over a network promises what the server likes. The magic numbers of
 * statfs(2) tell on Linux; elsewhere nothing is known and nothing refused.
 */
import { statfsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { journalError } from "../errors.ts";
import { isNotThere } from "./not-there.ts";

export interface StorageKind {
  /** Such as "ext4", "tmpfs", "overlay"; "unknown" for others and on other systems. */
  readonly fileSystem: string;
  /** `unsafe` is refused unless it was allowed, `doubtful` only warned of. */
  readonly trust: "safe" | "doubtful" | "unsafe" | "unknown";
  /** Why it isn't safe; empty when it is, or when nothing is known. */
  readonly reason: string;
}

const KEEPS_NOTHING = "it lives in memory: nothing survives a restart of the machine";
const OVER_NETWORK = "it is reached over a network: a sync promises what the server likes, and the lock may not hold";
const MAY_BE_MEMORY =
  "the upper layer decides what a sync promises, and a container's layer is deleted with the container";
const IS_A_LAYER = "the file system below it decides what a sync promises";
const IN_USER_SPACE = "a process of its own decides what a sync promises";

/** From statfs(2) and linux/magic.h. */
const KNOWN: Readonly<Record<number, readonly [name: string, trust: StorageKind["trust"], reason: string]>> = {
  0x01021994: ["tmpfs", "unsafe", KEEPS_NOTHING],
  0x858458f6: ["ramfs", "unsafe", KEEPS_NOTHING],
  0x6969: ["nfs", "unsafe", OVER_NETWORK],
  0x517b: ["smb", "unsafe", OVER_NETWORK],
  0xff534d42: ["cifs", "unsafe", OVER_NETWORK],
  0xfe534d42: ["smb2", "unsafe", OVER_NETWORK],
  0x01021997: ["9p", "unsafe", OVER_NETWORK],
  0x00c36400: ["ceph", "unsafe", OVER_NETWORK],
  0x0bd00bd0: ["lustre", "unsafe", OVER_NETWORK],
  0x5346414f: ["afs", "unsafe", OVER_NETWORK],
  0x73757245: ["coda", "unsafe", OVER_NETWORK],
  0x564c: ["ncp", "unsafe", OVER_NETWORK],
  0x786f4256: ["vboxsf", "unsafe", OVER_NETWORK],
  0x19830326: ["beegfs", "unsafe", OVER_NETWORK],
  0x47504653: ["gpfs", "unsafe", OVER_NETWORK],
  0x6b414653: ["kafs", "unsafe", OVER_NETWORK],
  0x7c7c6673: ["prl_fs", "unsafe", OVER_NETWORK],
  0xbacbacbc: ["vmhgfs", "unsafe", OVER_NETWORK],
  0x958458f6: ["hugetlbfs", "unsafe", KEEPS_NOTHING],
  0x794c7630: ["overlay", "doubtful", MAY_BE_MEMORY],
  0x61756673: ["aufs", "doubtful", MAY_BE_MEMORY],
  0xf15f: ["ecryptfs", "doubtful", IS_A_LAYER],
  0x65735546: ["fuse", "doubtful", IN_USER_SPACE],
  0xef53: ["ext4", "safe", ""],
  0x58465342: ["xfs", "safe", ""],
  0x9123683e: ["btrfs", "safe", ""],
  0x2fc12fc1: ["zfs", "safe", ""],
  0xf2f52010: ["f2fs", "safe", ""],
  0x3153464a: ["jfs", "safe", ""],
  0xca451a4e: ["bcachefs", "safe", ""],
};

/** Of a journal that was opened on `memoryStorage()`. */
export const MEMORY_KIND: StorageKind = {
  fileSystem: "memory",
  trust: "unsafe",
  reason: "it lives in this process: nothing survives its end",
};

/** The kind of storage under `directory`; if that isn't there yet, the kind where it would be. */
export function storageKind(directory: string): StorageKind {
  if (process.platform !== "linux") return kindOf(0);
  // Ends: the root is there.
  for (let place = resolve(directory); ; place = dirname(place)) {
    try {
      return kindOf(statfsSync(place).type);
    } catch (thrown) {
      if (!isNotThere(thrown)) throw thrown;
    }
  }
}

/** The kind of storage that a magic number of statfs(2) stands for. */
export function kindOf(magic: number): StorageKind {
  const [fileSystem, trust, reason] = KNOWN[magic >>> 0] ?? ["unknown", "unknown", ""];
  return { fileSystem, trust, reason };
}

/** Directories of which a warning was printed: once in a process is enough. */
const warned = new Set<string>();

/**
 * Throws `ERR_JOURNAL_UNSAFE_STORAGE` for a kind that keeps no promises, and warns the process of a
 * doubtful one, unless that was allowed. The warning's code is MILLRACE_DOUBTFUL_STORAGE.
 */
export function guardStorage(directory: string, kind: StorageKind, isAllowed: boolean): void {
  const { fileSystem, trust, reason } = kind;
  if (isAllowed || (trust !== "unsafe" && trust !== "doubtful")) return;
  const what = `${directory} is on ${fileSystem}: ${reason}`;
  if (trust === "unsafe")
    throw journalError("ERR_JOURNAL_UNSAFE_STORAGE", what, { details: { directory, fileSystem } });
  if (warned.has(directory)) return;
  warned.add(directory);
  process.emitWarning(`${what}. Use a local disk, in a container a volume; allowUnsafeStorage silences this.`, {
    type: "MillraceWarning",
    code: "MILLRACE_DOUBTFUL_STORAGE",
  });
}
