import { errorFactory, type ErrorFactory, type ErrorTable } from "@millrace/base";

export type JournalErrorCode =
  | "ERR_JOURNAL_BUSY"
  | "ERR_JOURNAL_CLOSED"
  | "ERR_JOURNAL_DAMAGED"
  | "ERR_JOURNAL_FULL"
  | "ERR_JOURNAL_LOCKED"
  | "ERR_JOURNAL_NATIVE"
  | "ERR_JOURNAL_NO_KEY"
  | "ERR_JOURNAL_POISONED"
  | "ERR_JOURNAL_PRODUCERS"
  | "ERR_JOURNAL_RECORD_TOO_LARGE"
  | "ERR_JOURNAL_STORAGE"
  | "ERR_JOURNAL_TORN"
  | "ERR_JOURNAL_TRUNCATED"
  | "ERR_JOURNAL_UNCERTAIN"
  | "ERR_JOURNAL_UNSAFE_STORAGE"
  | "ERR_JOURNAL_VERSION";

export const journalErrors: ErrorTable<JournalErrorCode> = {
  ERR_JOURNAL_BUSY: {
    cause: "More bytes wait for the disk than pendingBytesMax.",
    cure: "Await earlier appends before you make more, or raise pendingBytesMax. This record was certainly not stored.",
  },
  ERR_JOURNAL_CLOSED: {
    cause: "A record was appended after close().",
    cure: "Append before you close; this record was certainly not stored.",
  },
  ERR_JOURNAL_DAMAGED: {
    cause:
      "Acknowledged data is missing or altered: a flipped bit, a lost or foreign file, a write that went elsewhere.",
    cure:
      "Keep the directory as it is, check the disk, restore a copy. `millrace journal verify` " +
      "names file, offset and sequences.",
  },
  ERR_JOURNAL_FULL: {
    cause:
      "The disk, or the user's quota, has no room for the next segment. Records that finish " +
      "others are still written.",
    cure: "Free space, or try again later, when handled records were deleted. This record was certainly not stored.",
  },
  ERR_JOURNAL_LOCKED: {
    cause: "Another process has the directory open, or this process has it open already.",
    cure:
      "Use another directory, or end the other process. The lock ends with the process; there " +
      "is nothing to delete. If one process takes over from another, set lockWaitMs.",
  },
  ERR_JOURNAL_NATIVE: {
    cause:
      "The native part that locks files (fs-native-extensions) can't be loaded: it has no " +
      "build for this system, or a bundler has taken its JavaScript away from it.",
    cure:
      "Leave `millrace` and `@millrace/*` out of a bundle (docs/bundlers.md). There are " +
      "builds for Linux with glibc, macOS and Windows on x64 and arm64.",
  },
  ERR_JOURNAL_POISONED: {
    cause: "An earlier write or sync failed, and the journal writes nothing after that.",
    cure:
      "Solve the problem that the message names (disk, permissions), then restart the " +
      "process. This record was certainly not stored.",
  },
  ERR_JOURNAL_NO_KEY: {
    cause: "A read was to begin at a key that no record in the journal has.",
    cure: "Look for the key with find(key) first, or read from a sequence or a time.",
  },
  ERR_JOURNAL_PRODUCERS: {
    cause: "producerHandle() was called more often than the option `producers` allows.",
    cure: "Raise the option `producers`.",
  },
  ERR_JOURNAL_RECORD_TOO_LARGE: {
    cause: "A record is larger than recordBytesMax, or its headers or its key are over 65,535 bytes.",
    cure: "Split the record, store its bulk elsewhere, or raise recordBytesMax. It was certainly not stored.",
  },
  ERR_JOURNAL_STORAGE: {
    cause:
      "The directory can't be read or written: a permission is missing, the file system is " +
      "read-only or full, or the path is no directory.",
    cure: "Correct the path or the permissions, or free disk space; the message has the system's own error.",
  },
  ERR_JOURNAL_TORN: {
    cause: 'The journal ends with a batch that is incomplete, and it was opened with `recovery: "strict"`.',
    cure:
      "After a crash this is normal, and no acknowledged record is in the batch. Open with " +
      '`recovery: "tolerateTornTail"`, which sets the batch aside.',
  },
  ERR_JOURNAL_TRUNCATED: {
    cause: "truncateBefore has given the record up, or an intake has finished it.",
    cure:
      "Read from `recovery.firstSequence` or from the checkpoint. A journal that truncates " +
      "waits for its own readers.",
  },
  ERR_JOURNAL_UNSAFE_STORAGE: {
    cause: "The directory is on a file system in memory (tmpfs, ramfs) or over a network (NFS, SMB, 9p, Ceph).",
    cure: "Use a local disk. If you may lose the journal, set allowUnsafeStorage.",
  },
  ERR_JOURNAL_UNCERTAIN: {
    cause:
      "A write or sync failed, or the writer thread ended, while the record was under way. " +
      "The record may be stored or not.",
    cure: "Publish the record again after a restart, with the same idempotency key.",
  },
  ERR_JOURNAL_VERSION: {
    cause: "The journal has a newer format than this version can read.",
    cure: "Use a newer version of Millrace.",
  },
};

export const journalError: ErrorFactory<JournalErrorCode> = errorFactory(journalErrors);
