// What delivery itself writes into the log.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { StateLog } from "@millrace/intake/internal/delivery/state-log";
import type { Log } from "@millrace/intake/internal/delivery/ports";
import type { Steady } from "@millrace/intake/internal/delivery/steady";

/** A log that takes everything, and the urgency of each commit. */
function stateLogOf(): { stateLog: StateLog; commits: boolean[] } {
  const commits: boolean[] = [];
  const log: Pick<Log, "payloadBytesMax" | "stage" | "commit" | "isDiskFull"> = {
    payloadBytesMax: 4096,
    stage: () => true,
    commit: (isUrgent) => void commits.push(isUrgent),
    isDiskFull: () => false,
  };
  const steady: Pick<Steady, "nowMs"> = { nowMs: () => 0 };
  const stateLog = new StateLog(log as Log, { now: () => 0, wall: () => 0 }, steady as Steady, () => 0);
  return { stateLog, commits };
}

test("the ACK of a record that ends in the turn in which it is awaited is hurried", () => {
  const { stateLog, commits } = stateLogOf();
  stateLog.finished(1);
  stateLog.flush(false);
  // Nobody waits for the first one; somebody does for the second, which ends after that was seen.
  stateLog.isAwaited = true;
  stateLog.finished(2);
  stateLog.flush(false);
  stateLog.isAwaited = false;
  stateLog.finished(3);
  stateLog.flush(false);
  assert.equal(commits, [false, true, false]);
});

test("who asks when the ACK is written already hurries it", () => {
  const { stateLog, commits } = stateLogOf();
  stateLog.finished(1);
  stateLog.flush(false);
  stateLog.flush(false);
  stateLog.urge();
  stateLog.flush(false);
  stateLog.flush(false);
  assert.equal(commits, [false, true]);
});

test.run();
