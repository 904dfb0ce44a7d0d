// When a schedule is due: patterns, time zones, changes of their clocks.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { checkTimes, timetableOf } from "@millrace/intake/internal/delivery/timetable";
import { throwsWith } from "../support.ts";

const NOW = Date.parse("2026-11-30T12:00:00Z");

function cronTimes(cron: string, timeZone: string, from: string, count: number): string[] {
  const timetable = timetableOf({ cron, everyMs: undefined, timeZone }, 0);
  const times: string[] = [];
  for (let at = timetable.next(Date.parse(from)); at !== undefined && times.length < count; at = timetable.next(at)) {
    times.push(new Date(at).toISOString().slice(0, 16));
  }
  return times;
}

function check(cron: string, timeZone = "UTC"): void {
  checkTimes("schedule x", { cron, everyMs: undefined, timeZone }, NOW);
}

test("a time of day that the change to summer leaves out is due at the change", () => {
  assert.equal(cronTimes("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00Z", 3), [
    "2026-03-28T01:30",
    "2026-03-29T01:00",
    "2026-03-30T00:30",
  ]);
  // A change of half an hour, and one at midnight.
  assert.equal(cronTimes("15 2 * * *", "Australia/Lord_Howe", "2026-10-02T16:00Z", 2), [
    "2026-10-03T15:30",
    "2026-10-04T15:15",
  ]);
  assert.equal(cronTimes("30 0 * * *", "America/Havana", "2026-03-07T12:00Z", 2), [
    "2026-03-08T05:00",
    "2026-03-09T04:30",
  ]);
});

test("a time of day that comes twice in autumn is due the first time only", () => {
  assert.equal(cronTimes("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", 2), [
    "2026-10-25T00:30",
    "2026-10-26T01:30",
  ]);
});

test("an hourly pattern goes on as time does over both changes", () => {
  for (const from of ["2026-10-24T20:30Z", "2026-03-28T20:30Z"]) {
    const times = cronTimes("0 * * * *", "Europe/Berlin", from, 12).map((each) => Date.parse(`${each}Z`));
    for (const [index, at] of times.entries()) assert.is(at - (times[0] as number), index * 3_600_000);
  }
});

test("leap days, last days and weekdays of a month are found", () => {
  assert.equal(cronTimes("0 0 29 2 *", "UTC", "2026-01-01T00:00Z", 2), ["2028-02-29T00:00", "2032-02-29T00:00"]);
  assert.equal(cronTimes("0 0 L * *", "UTC", "2027-01-31T12:00Z", 2), ["2027-02-28T00:00", "2027-03-31T00:00"]);
  assert.equal(cronTimes("0 12 * * 5#2", "UTC", "2026-03-27T12:00Z", 2), ["2026-04-10T12:00", "2026-05-08T12:00"]);
});

test("due times are the same forwards and backwards", () => {
  const zones = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Kathmandu"];
  for (const timeZone of zones) {
    for (const cron of ["30 2 * * *", "15 1,2,3 * * *", "59 23 * * MON-FRI", "0 30 2 25 10 *"]) {
      for (const [from, to] of [
        ["2026-03-05", "2026-04-06"],
        ["2026-10-02", "2026-11-02"],
      ] as const) {
        const timetable = timetableOf({ cron, everyMs: undefined, timeZone }, 0);
        const [start, end] = [Date.parse(from), Date.parse(to)];
        const forwards: number[] = [];
        for (let at = timetable.next(start); at !== undefined && at <= end; at = timetable.next(at)) forwards.push(at);
        const backwards: number[] = [];
        for (let at = timetable.previous(end + 1); at !== undefined && at > start; at = timetable.previous(at)) {
          backwards.unshift(at);
        }
        assert.equal(backwards, forwards, `${cron} in ${timeZone} from ${from}`);
      }
    }
  }
});

test("due times of a distance are counted from one instant, however late", () => {
  const timetable = timetableOf({ cron: undefined, everyMs: 60_000, timeZone: "UTC" }, 1234);
  assert.is(timetable.next(1234), 61_234);
  assert.is(timetable.next(61_233), 61_234);
  assert.is(timetable.next(61_234), 121_234);
  assert.is(timetable.next(1234 + 60_000 * 1e6 + 17), 1234 + 60_000 * (1e6 + 1));
  assert.is(timetable.previous(121_234), 61_234);
  assert.is(timetable.previous(121_235), 121_234);
});

test("a pattern that is wrong is refused with the place and the name of its field", () => {
  const wrong: [string, number, string][] = [
    ["61 * * * *", 0, "minute"],
    ["0 24 * * *", 2, "hour"],
    ["* * 0 * *", 4, "day of month"],
    ["* * x * *", 4, "day of month"],
    ["0 0  1 13 *", 7, "month"],
    ["0 0 1 1 8", 8, "day of week"],
    ["0 0 1 1 MONDAY", 8, "day of week"],
    ["60 0 0 1 1 *", 0, "second"],
    ["0 0 0 1 1 * 0", 12, "year"],
    ["5/10 * * * *", 0, "minute"],
    ["*/0 * * * *", 0, "minute"],
    ["30-10 * * * *", 0, "minute"],
    ["* * * *", 7, "pattern"],
    ["* * * * * * * *", 14, "pattern"],
    ["", 0, "pattern"],
    ["@often", 6, "pattern"],
    ["2026-12-01T00:00:00", 13, "pattern"],
  ];
  for (const [cron, position, field] of wrong) {
    const { details } = throwsWith(() => check(cron), "ERR_INVALID_OPTION");
    assert.is(details["name"], "cron", cron);
    assert.is(details["position"], position, cron);
    assert.is(details["field"], field, cron);
  }
});

test("a pattern that never comes is refused", () => {
  for (const cron of ["0 0 31 2 *", "0 0 30 FEB *", "0 0 31 4,6,9,11 *", "0 0 0 1 1 * 2020", "0 0 0 29 2 * 2027"]) {
    assert.match(throwsWith(() => check(cron), "ERR_INVALID_OPTION").message, /never come/, cron);
  }
  check("0 0 29 2 *");
  check("0 0 0 29 2 * 2028");
});

test("what isn't the name of a time zone is refused on every version of Node", () => {
  for (const timeZone of ["Mars/Olympus", "+02:00", "", " ", "Europe/Berlin ", "constructor", "UTC+2"]) {
    const { details } = throwsWith(() => check("0 0 * * *", timeZone), "ERR_INVALID_OPTION");
    assert.is(details["name"], "timeZone", timeZone);
  }
  for (const timeZone of ["Europe/Berlin", "UTC", "Etc/GMT+5", "america/new_york"]) check("0 0 * * *", timeZone);
});

test.run();
