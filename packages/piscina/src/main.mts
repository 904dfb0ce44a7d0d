/** What `import … from "piscina"` gives: the same class, and its static members by name. */
// oxlint-disable-next-line import/default: `export =` is the default of a CommonJS module.
import Piscina from "./main.ts";

export default Piscina;
export { Piscina };
export const FixedQueue: typeof Piscina.FixedQueue = Piscina.FixedQueue;
export type FixedQueue = Piscina.FixedQueue;
export const ArrayTaskQueue: typeof Piscina.ArrayTaskQueue = Piscina.ArrayTaskQueue;
export type ArrayTaskQueue = Piscina.ArrayTaskQueue;
export type PiscinaTask = Piscina.PiscinaTask;
export type TaskQueue = Piscina.TaskQueue;
export const isWorkerThread: boolean = Piscina.isWorkerThread;
export const move: typeof Piscina.move = Piscina.move;
export { queueOptionsSymbol, transferableSymbol, valueSymbol } from "./symbols.ts";
export const version: string = Piscina.version;
export const workerData: any = Piscina.workerData;
