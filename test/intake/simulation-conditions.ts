/**
 * The decisions of a seed about its schedule before the first step.
 *
 * Most schedules are rough: much fails, waits and dies, so that nearly every segment has a record
 * that is needed. Calm ones show how segments that nobody needs go away, and the few records that
 * are left in them. There one handler is stalled (paused until late in the schedule) and has few
 * records, and the others finish nearly everything.
 */
import { NOTHING_KEPT, type RetainTerms } from "@millrace/intake/internal/delivery/kept-segments";

export const SEGMENT_BYTES = 1000;
export const SEGMENT_RECORDS = 8;

const RETAINED: readonly RetainTerms[] = [
  NOTHING_KEPT,
  { forMs: 3000, bytesMax: Infinity },
  { forMs: Infinity, bytesMax: 10 * SEGMENT_BYTES },
  { forMs: 9000, bytesMax: 1 },
  { forMs: 6000, bytesMax: 12 * SEGMENT_BYTES },
];
/** Of dead letters, in every other schedule: a few. */
const DEAD_BYTES_MAX = 1200;

/** So few that lanes wait for leases, in most schedules. */
const BEHIND_LEASE_MAX = 6;

/** One of so many does it. */
export interface Rates {
  /** Records of a handler that isn't there. */
  readonly later: number;
  readonly delayed: number;
  readonly expiring: number;
  /** Records that end the process of their handler; 0: none. */
  readonly deadly: number;
  /** Attempts that don't return, in tenths. */
  readonly failingTenths: number;
}

export interface Conditions {
  readonly retain: RetainTerms;
  readonly deadBytesMax: number;
  /** Somebody sets the clock now and then. */
  readonly isClockSet: boolean;
  /** Records of a lane that are kept in memory. */
  readonly laneRecordsMax: number;
  /** Records behind a lease that are suspect after a crash. */
  readonly behindLeaseMax: number;
  readonly rates: Rates;
  /** One in so many attempts to end a run does: with more, threads are busy most of the time. */
  readonly slowness: number;
  /** The disk is full for a while now and then. */
  readonly isDiskFull: boolean;
  /** A step of the clock that isn't short. */
  readonly longMs: number;
  /** After it nothing is published for so long that most of what waits is handled; 0: never. */
  readonly lullRounds: number;
  /** This handler is paused until this step; it has one of `stalledOneIn` records. */
  readonly stalled: { readonly handler: string; readonly untilStep: number; readonly oneIn: number } | undefined;
}

const ROUGH = {
  laneRecordsMax: 3,
  rates: { later: 12, delayed: 8, expiring: 10, deadly: 0, failingTenths: 4 },
  isDiskFull: true,
  lullRounds: 0,
  longMs: 5000,
  stalled: undefined,
};

const CALM = {
  laneRecordsMax: 0,
  rates: { later: 100, delayed: 50, expiring: 50, deadly: 0, failingTenths: 1 },
  isDiskFull: false,
  lullRounds: 12,
  longMs: 1200,
  stalled: { handler: "mail", untilStep: 370, oneIn: 16 },
};

const DEADLY_ONE_IN = 20;
const SLOW = 3;

export function conditionsOf(seed: number): Conditions {
  const mood = seed % 3 === 0 ? CALM : ROUGH;
  return {
    retain: RETAINED[seed % RETAINED.length] as RetainTerms,
    deadBytesMax: seed % 2 === 0 ? DEAD_BYTES_MAX : Infinity,
    isClockSet: seed % 4 === 0,
    behindLeaseMax: seed % 4 === 2 ? BEHIND_LEASE_MAX * 100 : BEHIND_LEASE_MAX,
    ...mood,
    slowness: seed % 7 === 0 ? SLOW : 1,
    rates: { ...mood.rates, deadly: seed % 5 === 1 ? DEADLY_ONE_IN : 0 },
  };
}
