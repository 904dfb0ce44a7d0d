/**
 * Commands to an intake from outside its process. A running intake takes them through its control
 * socket. Those about dead letters and pauses also work on a directory that nobody has open.
 */
import { baseError, nearest } from "@millrace/base";
import type {
  DeadExportOptions,
  DeadFilter,
  DeadLetters,
  DropOptions,
  RedriveOptions,
} from "../letters/dead-letters.ts";
import { intakeError } from "../errors.ts";
import type { Replayed, ReplayOptions } from "../replay/replay.ts";

export interface Controlled {
  readonly dead: DeadLetters;
  pause(handler: string): Promise<void>;
  resume(handler: string): Promise<void>;
  replay(options: ReplayOptions): Promise<Replayed>;
  /** Only of an intake that runs. */
  readonly running?: {
    stats(): object;
    /** Of the whole runtime: families of metrics. */
    metrics(): readonly object[];
    health(): object;
    schedules(): Promise<readonly object[]>;
    drain(options: { readonly all?: boolean; readonly signal: AbortSignal }): Promise<object>;
  };
}

export interface Asking {
  /** For lists: the next one; resolves when there is room for more. */
  readonly item: (item: object) => Promise<void>;
  /** Aborts when the client that has asked is gone. */
  readonly signal: AbortSignal;
}

type Options = Readonly<Record<string, unknown>>;
type Command = (controlled: Controlled, options: Options, asking: Asking) => Promise<unknown>;

const COMMANDS: Readonly<Record<string, Command>> = {
  stats: async (controlled) => running(controlled).stats(),
  health: async (controlled) => running(controlled).health(),
  metrics: async (controlled, _, { item }) => each(running(controlled).metrics(), item),
  drain: (controlled, { all }, { signal }) =>
    running(controlled).drain({ signal, ...(all === undefined ? {} : { all: all as boolean }) }),
  "schedules.list": async (controlled, _, { item }) => each(await running(controlled).schedules(), item),
  pause: (controlled, { handler }) => controlled.pause(handler as string),
  resume: (controlled, { handler }) => controlled.resume(handler as string),
  replay: (controlled, options, { signal }) => controlled.replay({ ...replayOptions(options), signal }),
  "dead.list": ({ dead }, filter, { item }) => each(dead.show({ limit: LIST_MAX, ...(filter as DeadFilter) }), item),
  "dead.count": ({ dead }, filter) => dead.count(filter as DeadFilter),
  "dead.show": ({ dead }, { sequence }) => dead.showOne(sequence as number),
  "dead.redrive": ({ dead }, options, { signal }) => dead.redrive({ ...(options as RedriveOptions), signal }),
  "dead.drop": ({ dead }, options) => dead.drop(options as DropOptions),
  "dead.export": ({ dead }, options) => dead.export(options as unknown as DeadExportOptions),
};

/** JSON has no dates: `fromMs` and `toMs` stand for them. */
function replayOptions({ fromMs, toMs, ...options }: Options): ReplayOptions {
  return {
    ...options,
    ...(fromMs === undefined ? {} : { from: new Date(fromMs as number) }),
    ...(toMs === undefined ? {} : { to: new Date(toMs as number) }),
  };
}

/** Letters of one list, unless the filter says otherwise. */
const LIST_MAX = 1000;

/** Throws what the command throws, and `ERR_INVALID_OPTION` for one that isn't there. */
export async function carryOut(
  controlled: Controlled,
  name: string,
  options: object,
  asking: Asking,
): Promise<unknown> {
  if (Object.hasOwn(COMMANDS, name)) return (COMMANDS[name] as Command)(controlled, options as Options, asking);
  const near = nearest(name, Object.keys(COMMANDS));
  throw baseError("ERR_INVALID_OPTION", `there is no command "${name}"${near === undefined ? "" : `; "${near}"?`}`, {
    details: { owner: "control", name: "command", value: name },
  });
}

function running({ running: parts }: Controlled): NonNullable<Controlled["running"]> {
  if (parts !== undefined) return parts;
  throw intakeError("ERR_INTAKE_ABSENT", "no process has the intake open, and the command is about one that runs");
}

async function each(items: AsyncIterable<object> | Iterable<object>, item: Asking["item"]): Promise<number> {
  let count = 0;
  for await (const one of items) {
    await item(one);
    count += 1;
  }
  return count;
}
