import { errorFactory, type ErrorFactory, type ErrorTable } from "@millrace/base";

export type SyncErrorCode =
  | "ERR_THREADS_EXHAUSTED"
  | "ERR_SYNC_SPACE_FULL"
  | "ERR_WAITERS_EXHAUSTED"
  | "ERR_SYNC_HANDLE"
  | "ERR_SYNC_CLOSED"
  | "ERR_SYNC_IN_USE"
  | "ERR_SYNC_TIMEOUT"
  | "ERR_BLOCKING_MAIN"
  | "ERR_LOCK_HELD"
  | "ERR_LOCK_NOT_HELD"
  | "ERR_LOCK_ABANDONED"
  | "ERR_PERMITS_TOO_MANY"
  | "ERR_WAIT_GROUP_NEGATIVE"
  | "ERR_BARRIER_BROKEN";

export const syncErrors: ErrorTable<SyncErrorCode> = {
  ERR_THREADS_EXHAUSTED: {
    cause:
      "More threads take part than the thread table has entries: 65,536, which is more than Linux starts by default.",
    cure: "Close runtimes that are no longer used, or start fewer processors.",
  },
  ERR_SYNC_SPACE_FULL: {
    cause: "More locks, channels and contexts exist at once than there is room for.",
    cure: "Close those that are no longer used: close() gives their place back.",
  },
  ERR_WAITERS_EXHAUSTED: {
    cause: "More parties hold or wait for locks and channels at once than there is room for.",
    cure: "Let fewer operations wait at once, for instance by a semaphore around them; release what isn't needed.",
  },
  ERR_SYNC_HANDLE: {
    cause: "A handle doesn't belong to an object of this kind in this process.",
    cure: "Pass the `handle` of a living object, to a thread that was started after the object's module was loaded.",
  },
  ERR_SYNC_CLOSED: {
    cause: "The object was closed.",
    cure: "Close an object only when every thread has finished with it.",
  },
  ERR_SYNC_IN_USE: {
    cause: "close() was called on an object that somebody holds or waits for.",
    cure: "Close an object only when every thread has finished with it.",
  },
  ERR_SYNC_TIMEOUT: {
    cause: "The time limit of a wait has passed.",
    cure: "Find out which thread holds the object for so long, or allow more time.",
  },
  ERR_BLOCKING_MAIN: {
    cause: "A form that blocks its thread was called on the main thread, which must never block.",
    cure: "Use the form that the message names, which returns a promise, or the try form.",
  },
  ERR_LOCK_HELD: {
    cause: "A thread would wait for ever for a lock or for permits that it holds itself, or behind its own event loop.",
    cure: "Release them first, or take them once around the whole section.",
  },
  ERR_LOCK_NOT_HELD: {
    cause: "A lock, a permit or a claim was released by a thread that doesn't hold it, or twice.",
    cure: "Release what you hold, once; `using` or a finally block does that.",
  },
  ERR_LOCK_ABANDONED: {
    cause: 'The thread that held the lock has died, and the lock was made with onOwnerDeath: "fail".',
    cure: "Bring the data that the lock protects back into order, then call reset().",
  },
  ERR_PERMITS_TOO_MANY: {
    cause: "A request asked for more permits than the semaphore has in all.",
    cure: "Ask for fewer, or make the semaphore with more.",
  },
  ERR_WAIT_GROUP_NEGATIVE: {
    cause: "More units of a wait group were finished, or claimed, than there were.",
    cure:
      "Call add() before the work is started, and done() once per unit; a claimed unit is " +
      "finished through its claim.",
  },
  ERR_BARRIER_BROKEN: {
    cause: "A party of the barrier has died or given up, so the others would wait in vain.",
    cure: "Call reset() to repair the barrier, and start the round anew when all parties are there again.",
  },
};

export const syncError: ErrorFactory<SyncErrorCode> = errorFactory(syncErrors);
