/** A worker's own state; programs read it from the process. */

declare global {
  namespace NodeJS {
    interface Process {
      __tinypool_state__: {
        isTinypoolWorker: boolean;
        isWorkerThread?: boolean;
        isChildProcess?: boolean;
        workerData: any;
        workerId: number;
      };
    }
  }
}

type State = NodeJS.Process["__tinypool_state__"];

const KEY = "__tinypool_state__";

export function setState(state: State): void {
  process[KEY] = state;
}

export const stateOf = (): State | undefined => process[KEY] as State | undefined;
