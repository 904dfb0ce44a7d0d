/** A thread's own state: the worker sets it before it loads a task. */
export const state: { isWorkerThread: boolean; workerData: unknown } = {
  isWorkerThread: false,
  workerData: undefined,
};
