/** The options of an intake: its own, and those of its journal, in one object. */
import {
  baseError,
  boolean,
  checkArgument,
  custom,
  integer,
  oneOf,
  optional,
  optionsObject,
  resolveOptions,
  type Rule,
  type Rules,
} from "@millrace/base";
import type { JournalOptions } from "@millrace/journal";
import { resolveWithJournal } from "@millrace/journal/kernel";
import { NOTHING_KEPT, type RetainTerms } from "../delivery/kept-segments.ts";
import type { DeliveryOptions } from "../delivery/messages.ts";
import { handlerRules, handlerTerms, type HandlerOptions, type Redact } from "../delivery/policy.ts";
import { type RedactRules, Redactor } from "../letters/redact.ts";
import { levelMarks, type LevelOptions } from "./level-options.ts";
import { declaredSchedules, type ScheduleOptions } from "./schedules.ts";
import type { WaterMarks } from "./water.ts";

/** Options for commands from outside, and for showing records. */
export interface ControlOptions {
  /** Whether a socket in the directory takes commands. */
  readonly isListening: boolean;
  readonly redact: RedactRules;
}

/** The options that the publisher uses. */
export interface PublisherOptions {
  readonly marks: WaterMarks;
  /** Whether a publish waits when the intake is full. */
  readonly isWaiting: boolean;
  readonly producersMax: number;
}

/** How long idempotency keys are remembered: until either limit is reached. */
export interface DedupeOptions {
  /** Default 24 hours. */
  readonly forMs?: number;
  /** Default 1,000,000; a key takes some 50 bytes of memory. */
  readonly keysMax?: number;
}

/** Limits of dead letters. */
export interface DeadOptions {
  /**
   * Bytes of dead letters that the log keeps: their records, and the DEAD record of each. At the
   * limit records wait instead of dying, and publishes for their handlers reject with
   * `ERR_DEAD_LETTERS_FULL`, until letters are redriven or dropped. Default 1 GiB.
   */
  readonly bytesMax?: number;
}

/**
 * How long finished records stay, by whole segments: until either limit is passed. Give at least
 * one of the two.
 */
export interface RetainOptions {
  /** How long a segment is kept at least after it was full, ms. Default: no limit. */
  readonly forMs?: number;
  /** Bytes of all segments, beyond which the oldest go. Default: no limit. */
  readonly bytesMax?: number;
}

/**
 * The members of `HandlerOptions` here are defaults for all handlers; `handlers` has those of one
 * handler.
 */
export interface IntakeOptions extends Omit<JournalOptions, "deliveryThread">, HandlerOptions {
  /** @deprecated The former name of `attemptsMax`. */
  readonly maxDeliveries?: number;
  /** Options by the name of a handler. */
  readonly handlers?: Readonly<Record<string, HandlerOptions>>;
  readonly dedupe?: DedupeOptions;
  readonly dead?: DeadOptions;
  /**
   * Whether the intake listens on `control.sock`, a Unix socket in its directory that only its
   * owner may use: for `millrace dlq` and `millrace intake`. Default true.
   */
  readonly control?: boolean;
  /**
   * When publishes wait or are refused. "textbook": from 1000 records on until there are 500 again,
   * both in the ring and unfinished. Default: no limit but ring and disk.
   */
  readonly levels?: "textbook" | LevelOptions;
  /** How a publish behaves then, unless its own options say it. Default "wait". */
  readonly whenFull?: "wait" | "reject";
  /**
   * Most producers that the intake knows; a record of a further one rejects with
   * `ERR_PRODUCERS_FULL`. Each takes some 100 bytes of memory, or up to 4 KiB. Default 10,000.
   */
  readonly producersMax?: number;
  /**
   * Records that the intake keeps in memory for each priority; it reads the others back from the
   * disk. Default 4096.
   */
  readonly laneRecordsMax?: number;
  /**
   * The records that stay in the journal: "unfinished" ones (and dead ones), "all", or finished
   * ones as well for a while. Default "unfinished".
   */
  readonly retain?: "unfinished" | "all" | RetainOptions;
  /**
   * Schedules by their names. The opening removes a declared schedule that isn't here any more, and
   * replaces one that is different. Left out: the schedules declared before stay as they are.
   */
  readonly schedules?: Readonly<Record<string, ScheduleOptions>>;
}

const KEYS_MAX: number = 2 ** 26;
const FOR_MS_MAX: number = 365 * 86_400_000;

const redactRule = custom<Redact>(
  "a list of paths, or a function",
  (value): value is Redact =>
    typeof value === "function" || (Array.isArray(value) && value.every((path) => typeof path === "string")),
);

const rules = {
  ...optionalRules(),
  maxDeliveries: optional(integer(1, 65_535, 1)),
  handlers: optional(optionsObject<Readonly<Record<string, HandlerOptions>>>()),
  dedupe: optional(optionsObject<DedupeOptions>()),
  levels: optional(
    custom<"textbook" | LevelOptions>(
      `"textbook", or an object with options`,
      (value): value is "textbook" | LevelOptions =>
        value === "textbook" || (typeof value === "object" && value !== null),
    ),
  ),
  whenFull: oneOf(["wait", "reject"], "wait"),
  producersMax: integer(1, 1_000_000, 10_000),
  laneRecordsMax: integer(1, 2 ** 20, 4096),
  dead: optional(optionsObject<DeadOptions>()),
  control: boolean(true),
  redact: optional(redactRule),
  retain: optional(
    custom<NonNullable<IntakeOptions["retain"]>>(
      `"unfinished", "all", or an object with options`,
      (value): value is NonNullable<IntakeOptions["retain"]> =>
        value === "unfinished" || value === "all" || (typeof value === "object" && value !== null),
    ),
  ),
  schedules: optional(optionsObject<Readonly<Record<string, ScheduleOptions>>>()),
} satisfies Rules;

const dedupeRules = {
  forMs: integer(0, FOR_MS_MAX, 86_400_000),
  keysMax: integer(1, KEYS_MAX, 1_000_000),
} satisfies Rules;

const deadRules = { bytesMax: integer(1, Number.MAX_SAFE_INTEGER, 2 ** 30) } satisfies Rules;

const retainRules = {
  forMs: optional(integer(0, 10 * FOR_MS_MAX, 0)),
  bytesMax: optional(integer(0, Number.MAX_SAFE_INTEGER, 0)),
} satisfies Rules;

/** Undefined: everything stays. Throws `ERR_INVALID_OPTION`. */
function retainTerms(given: IntakeOptions["retain"] = "unfinished"): RetainTerms | undefined {
  if (given === "all") return undefined;
  if (given === "unfinished") return NOTHING_KEPT;
  const { forMs, bytesMax } = resolveOptions("retain", retainRules, given);
  if (forMs === undefined && bytesMax === undefined) {
    throw baseError("ERR_INVALID_OPTION", `open({ journal }): retain needs forMs or bytesMax; "all" keeps everything`, {
      details: { owner: "open({ journal })", name: "retain", value: given },
    });
  }
  return { forMs: forMs ?? Infinity, bytesMax: bytesMax ?? Infinity };
}

/** The rules of a handler's options, all of which may be left out here. */
function optionalRules(): Rules {
  const all = Object.entries(handlerRules) as [string, Rule<unknown>][];
  return Object.fromEntries(all.map(([name, rule]) => [name, optional(rule)]));
}

/** Throws `ERR_INVALID_OPTION`, also for the journal's options. */
export function intakeOptions(given: IntakeOptions): {
  readonly forDelivery: DeliveryOptions;
  readonly forJournal: Omit<JournalOptions, "deliveryThread">;
  readonly forPublisher: PublisherOptions;
  readonly forControl: ControlOptions;
} {
  const own = resolveWithJournal("open({ journal })", rules, given);
  const forJournal = Object.fromEntries(Object.entries(given).filter(([name]) => !Object.hasOwn(rules, name)));
  const handlerDefaults: HandlerOptions = {
    ...Object.fromEntries(Object.keys(handlerRules).map((name) => [name, given[name as keyof IntakeOptions]])),
    ...(given.attemptsMax === undefined && given.maxDeliveries !== undefined
      ? { attemptsMax: given.maxDeliveries }
      : undefined),
  };
  const redacts: Record<string, Redact> = {};
  const handlers: Record<string, HandlerOptions> = {};
  for (const [name, all] of Object.entries((own.handlers ?? {}) as Record<string, HandlerOptions>)) {
    checkArgument("open({ journal })", `handlers.${name}`, optionsObject<HandlerOptions>(), all);
    const { redact, ...options } = all;
    handlers[name] = options;
    if (redact !== undefined)
      redacts[name] = resolveOptions(`handlers.${name}`, { redact: redactRule }, { redact }).redact;
  }
  for (const [name, options] of Object.entries(handlers)) handlerTerms(`handlers.${name}`, options, handlerDefaults);
  const dedupe = resolveOptions("dedupe", dedupeRules, (own.dedupe ?? {}) as DedupeOptions);
  const deadBytesMax = resolveOptions("dead", deadRules, (own.dead ?? {}) as DeadOptions).bytesMax;
  const schedules = own.schedules === undefined ? undefined : declaredSchedules(own.schedules);
  const marks = levelMarks(own.levels as IntakeOptions["levels"]);
  const forDelivery = {
    handlerDefaults,
    handlers,
    dedupe,
    deadBytesMax,
    producersMax: own.producersMax as number,
    retain: retainTerms(own.retain as IntakeOptions["retain"]),
    schedules,
    laneRecordsMax: own.laneRecordsMax as number,
    limitsUnfinished: marks.unfinished !== undefined,
    measuresDisk: marks.disk !== undefined,
  };
  const redact = { fallback: own.redact as Redact | undefined, handlers: redacts };
  // Wrong paths are refused before anything is opened.
  void new Redactor(redact);
  return {
    forDelivery,
    forJournal,
    forPublisher: { marks, isWaiting: own.whenFull === "wait", producersMax: own.producersMax as number },
    forControl: { isListening: own.control as boolean, redact },
  };
}
