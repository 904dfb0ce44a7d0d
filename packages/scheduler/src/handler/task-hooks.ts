/**
 * The hooks with which a package above handles tasks with headers. The module that
 * `SchedulerOptions.headerReader` names exports them, and every machine loads it.
 *
 * The first byte of a header belongs to both. With its lowest bit set, the submitter wants to know
 * what the handler returned; without it nobody reads that, and it isn't encoded. With bit 8 the
 * time is taken that the handler runs.
 */

/** A function of the user's module. */
type AnyHandler = (...parameters: never[]) => unknown;

/** Reads the header that a submitter attached to a task. */
export type HeaderReader = (header: Uint8Array, runsBefore: number) => unknown;

/** The work of a task with a header beside its handler's result. */
export interface TaskStage {
  /** `context.publish` of the handler. */
  readonly publish: object;
  /** `context.publishNow`. */
  readonly publishNow: object;
}

export interface StageHost {
  /** Throws `ERR_TASK_OVER`. */
  mustRun(what: string): void;
  /** An object with a member for each handler; other names throw `ERR_HANDLER_UNKNOWN`. */
  bind(one: (name: string) => unknown): object;
  /** The opening thread's answer to a value that can be cloned: `SchedulerOptions.onAsk`. */
  ask(value: unknown): Promise<unknown>;
}

export interface ThrownByHandler {
  readonly handler: AnyHandler;
  readonly thrown: unknown;
  readonly runsBefore: number;
  /** Undefined unless the header wants it. */
  readonly ranMs: number | undefined;
}

export interface TaskHooks {
  /** Once on each thread, before the others; `url` is the one of the option. */
  begin(url: string): Promise<void>;
  /** For each handler, after the module's `initialize`: what is called instead of it. */
  around<One extends AnyHandler>(name: string, handler: One): One;
  readonly readHeader: HeaderReader;
  openStage(header: Uint8Array, host: StageHost): TaskStage;
  /**
   * The value for the submitter, once the handler has returned `result`. `stage` is undefined when
   * the handler asked for nothing; `ranMs` is undefined unless the header wants it. Never throws.
   */
  outcomeOf(header: Uint8Array, stage: TaskStage | undefined, result: unknown, ranMs: number | undefined): unknown;
  /** The error for the submitter, once the handler has thrown. Never throws. */
  failureOf(header: Uint8Array, thrown: ThrownByHandler): unknown;
  /** At the start: throws for a handler that can't be used. */
  checkHandler(name: string, handler: AnyHandler): void;
}

export const WANTS_RESULT = 1;
export const WANTS_TIME = 8;
