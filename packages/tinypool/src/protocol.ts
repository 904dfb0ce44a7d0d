/** The messages between a pool and its workers; the types are those of tinypool. */
import type { MessagePort } from "node:worker_threads";

/** The way between a caller and the worker that has its task. */
export interface TinypoolChannel {
  /** Gets a function that sends a message to the worker. Child processes only. */
  onMessage?: (callback: (message: any) => void) => void;
  /** Called with what the worker sends. Child processes only. */
  postMessage?: (message: any) => void;
  /** Called when the worker ends, or gets a task with another channel. */
  onClose?: () => void;
}

/** Marks messages of the pool, so that programs in a child process can tell them from their own. */
export interface TinypoolWorkerMessage<T extends "port" | "pool" = "port" | "pool"> {
  __tinypool_worker_message__: true;
  source: T;
}

/** A thread or a child process. */
export interface TinypoolWorker {
  runtime: string;
  initialize(options: WorkerOptions): void;
  terminate(): Promise<any>;
  postMessage(message: any, transferListItem?: any[]): void;
  setChannel?: (channel: TinypoolChannel) => void;
  on(event: string, listener: (...args: any[]) => void): void;
  once(event: string, listener: (...args: any[]) => void): void;
  emit(event: string, ...data: any[]): void;
  ref?: () => void;
  unref?: () => void;
  threadId: number;
}

export interface WorkerOptions {
  env?: Record<string, string> | undefined;
  argv?: string[] | undefined;
  execArgv?: string[] | undefined;
  resourceLimits?: any;
  workerData: TinypoolData;
  trackUnmanagedFds?: boolean | undefined;
  serialization?: "json" | "advanced" | undefined;
}

export interface TinypoolPrivateData {
  workerId: number;
}

export type TinypoolData = [TinypoolPrivateData, any];

export interface StartupMessage {
  filename: string | null;
  name: string;
  port: MessagePort;
  sharedBuffer: Int32Array;
  useAtomics: boolean;
}

export interface RequestMessage {
  taskId: number;
  task: any;
  filename: string;
  name: string;
}

export interface ReadyMessage {
  ready: true;
}

export interface ResponseMessage {
  taskId: number;
  result: any;
  /** Null when the task has a result. */
  error: unknown;
  /** Whether `error` was thrown: it may be null itself. */
  hasFailed: boolean;
  usedMemory: number;
}

export const READY: ReadyMessage = { ready: true };
