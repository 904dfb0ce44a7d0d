/** What a thread knows of itself: the worker sets it before it loads a task. */
export const state: { isWorkerThread: boolean; workerData: unknown } = {
  isWorkerThread: false,
  workerData: undefined,
};
