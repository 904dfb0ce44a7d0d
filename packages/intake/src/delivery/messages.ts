/**
 * The messages between the opener and the delivery thread: rare things, and values that no ring
 * takes.
 */
import type { DeliveryHandle } from "@millrace/journal/kernel";
import type { SubmitterHandle } from "@millrace/scheduler";
import type { ScheduleDefinition } from "../format/schedule.ts";
import type { ReasonName } from "../format/state-records.ts";
import type { WindowLimits } from "../states/dedupe-window.ts";
import type { Letters } from "./commands.ts";
import type { DeliveryEvent } from "./events.ts";
import type { Checkpoint } from "./housekeeping.ts";
import type { DeadQuery } from "../states/dead-table.ts";
import type { RetainTerms } from "./kept-segments.ts";
import type { ProducerInfo, ProducerSnapshot } from "../states/producer-state.ts";
import type { RecordState } from "../states/record-states.ts";
import type { KeptResult } from "../states/results.ts";
import type { DeadPiece } from "./dead-scan.ts";
import type { HandlerOptions } from "./policy.ts";
import type { HandlerReport, LaneReport } from "./reports.ts";
import type { DeclaredSchedule, ScheduleRefusal, ScheduleReport } from "./schedules.ts";

export interface DeliveryOptions {
  /** For handlers without options of their own. */
  readonly handlerDefaults: HandlerOptions;
  readonly handlers: Readonly<Record<string, HandlerOptions>>;
  readonly dedupe: WindowLimits;
  /** Bytes that dead letters may take in the log. */
  readonly deadBytesMax: number;
  readonly producersMax: number;
  /** The finished records that are kept; undefined: all of them. */
  readonly retain: RetainTerms | undefined;
  /** Undefined: what earlier processes have declared stays. */
  readonly schedules: readonly DeclaredSchedule[] | undefined;
  /** Records that each lane keeps in memory. */
  readonly laneRecordsMax: number;
  /** Whether publishes wait while too many records are unfinished. */
  readonly limitsUnfinished: boolean;
  /** Whether free bytes of the disk are wanted. */
  readonly measuresDisk: boolean;
}

/** A record that has become a dead letter. */
export interface RecordDeath {
  readonly sequence: number;
  readonly handler: string;
  readonly reason: ReasonName;
  readonly attempts: number;
  /** Ms since 1970. */
  readonly diedAtMs: number;
}

export interface DeliveryData {
  readonly journal: DeliveryHandle;
  readonly scheduler: SubmitterHandle;
  readonly options: DeliveryOptions;
  readonly words: SharedArrayBuffer;
  readonly stats: SharedArrayBuffer;
}

/** The opener's commands by message; a report with the command's id answers each. */
export type Command =
  | { readonly kind: "pause" | "resume"; readonly handler: string }
  | { readonly kind: "scanDead"; readonly query: DeadQuery; readonly behind: number }
  | { readonly kind: "findDead"; readonly sequence: number }
  | { readonly kind: "redrive"; readonly letters: Letters; readonly handler: string }
  | { readonly kind: "drop"; readonly letters: Letters }
  | { readonly kind: "findResult"; readonly sequence: number }
  | { readonly kind: "recordState"; readonly sequence: number }
  | { readonly kind: "schedule"; readonly name: string; readonly definition: ScheduleDefinition }
  | { readonly kind: "unschedule"; readonly name: string }
  | { readonly kind: "schedules" }
  | { readonly kind: "handlers" }
  | { readonly kind: "lanes" }
  | { readonly kind: "dropProducer"; readonly id: string }
  | { readonly kind: "producers" }
  /** The durable state of a producer. */
  | { readonly kind: "producer"; readonly id: string };

/** How each is answered. One that writes is answered when that is durable. */
export interface Answers {
  readonly pause: undefined;
  readonly resume: undefined;
  readonly scanDead: DeadPiece;
  readonly findDead: DeadPiece;
  readonly redrive: undefined;
  readonly drop: undefined;
  readonly findResult: KeptResult | undefined;
  readonly recordState: RecordState;
  /** Undefined when it is defined. */
  readonly schedule: ScheduleRefusal | undefined;
  /** Whether there was one. */
  readonly unschedule: boolean;
  readonly schedules: readonly ScheduleReport[];
  readonly handlers: readonly HandlerReport[];
  readonly lanes: readonly LaneReport[];
  readonly dropProducer: undefined;
  readonly producers: readonly ProducerInfo[];
  readonly producer: ProducerSnapshot;
}

/** To the delivery thread. */
export type DeliveryOrder =
  | { readonly id: number; readonly command: Command }
  | { readonly checkpointDone: boolean }
  /**
   * The end of a record in quarantine: the encoded error, or the handler's outcome (`packOutcome`);
   * undefined without.
   */
  | { readonly quarantined: number; readonly error: Uint8Array | undefined; readonly outcome: unknown };

/** From the delivery thread. */
export type DeliveryReport =
  /** It delivers. */
  | { readonly ready: true }
  /** It can't start, or had to stop; encoded. */
  | { readonly error: Uint8Array }
  /** A record that somebody awaits is dead; with its encoded history. */
  | { readonly dead: number; readonly history: Uint8Array }
  /** Nobody will handle a record that somebody awaits. */
  | { readonly expired: number }
  /** Records have become dead letters. */
  | { readonly died: readonly RecordDeath[] }
  /** Publishes for these handlers are refused: there is no room for their dead letters. */
  | { readonly fullHandlers: ReadonlySet<string> }
  /** These handlers, and no others, get no record now, however many of those in hand end. */
  | { readonly stoppedHandlers: ReadonlySet<string> }
  /** At its end: for this time the disk has had no room for what became of the last records. */
  | { readonly withoutRoomSeconds: number }
  /** At its end: the disk had no room for what so many handlers have left. */
  | { readonly groupsGivenUp: number }
  | { readonly checkpoint: Checkpoint }
  /** A record to be handled in a process of its own. */
  | {
      readonly quarantine: number;
      readonly handler: string;
      readonly header: Uint8Array;
      readonly payload: Uint8Array;
      readonly timeoutMs: number;
    }
  /** A handler has published a record of a producer that nobody knew. */
  | { readonly producer: string }
  /** A thread is to end: attempts that were given up hold it. */
  | { readonly endMachine: number; readonly ifBlocked: boolean }
  /** For those who listen to events. */
  | { readonly event: DeliveryEvent }
  | { readonly id: number; readonly result: unknown };
