// Internal to the package; only its own tests reach for it.
import type { Delivery } from "@millrace/intake/internal/delivery/delivery";
import { type Checkpoint, Housekeeping } from "@millrace/intake/internal/delivery/housekeeping";
import { NOTHING_KEPT } from "@millrace/intake/internal/delivery/kept-segments";
import type { Log } from "@millrace/intake/internal/delivery/ports";
import { ENTRY_BYTES } from "@millrace/intake/internal/states/dedupe-window";
import { RecordStates } from "@millrace/intake/internal/states/record-states";
import { RECORD_TYPE } from "@millrace/journal";
import { test } from "uvu";
import * as assert from "uvu/assert";

test("keys that come faster than they are written hold up no checkpoint for good", () => {
  const states = new RecordStates();
  let origin = 0;
  let written = 0;
  const stateLog = {
    write: (type: number, entries: Buffer) => {
      assert.is(type, RECORD_TYPE.window);
      written += entries.length / ENTRY_BYTES;
    },
  };
  const checkpoints: Checkpoint[] = [];
  const world = {
    segments: () => [],
    walk: () => assert.unreachable("nothing is copied"),
    reserveBytes: () => 0,
    checkpoint: (each: Checkpoint) => checkpoints.push(each),
  };
  const log = { known: 1, payloadBytesMax: 65_536 } as Log;
  const clock = { now: () => 0, wall: () => 0 };
  const delivery = { states, stateLog, visits: {} } as unknown as Delivery;
  const housekeeping = new Housekeeping(world as never, log, clock, delivery, NOTHING_KEPT);
  const publish = (keys: number): void => {
    for (let index = 0; index < keys; index += 1) {
      origin += 1;
      const idempotency = { key: Buffer.from(`key ${origin}`), payloadCrc: 1, payloadBytes: 1 };
      states.window.judge("pay", idempotency, origin, 1000);
    }
  };
  for (let look = 0; look < 6; look += 1) {
    publish(5000);
    states.windowChunks.set(look, written === 0 ? 0 : origin - 5000);
    housekeeping.checkpoint(0);
    housekeeping.checkpointDone(true);
  }
  assert.is(checkpoints.length, 3, "every other look, where each is preceded by too many keys");
  assert.ok(written >= 15_000, "most keys stand in records, not in checkpoints");
  assert.ok((checkpoints.at(-1) as Checkpoint).bytes.length < 11_000 * ENTRY_BYTES);
});

test("a WINDOW record stays until a durable checkpoint doesn't name it", () => {
  const states = new RecordStates();
  const given: number[] = [];
  const world = {
    segments: () => [],
    reserveBytes: () => 0,
    checkpoint: ({ before }: Checkpoint) => given.push(before),
  };
  const log = { known: 200, payloadBytesMax: 65_536 } as Log;
  const clock = { now: () => 0, wall: () => 0 };
  const delivery = { states, stateLog: {}, visits: {} } as unknown as Delivery;
  const housekeeping = new Housekeeping(world as never, log, clock, delivery, NOTHING_KEPT);
  const checkpoint = (isOk: boolean): void => {
    housekeeping.checkpoint(100);
    housekeeping.checkpointDone(isOk);
  };
  // The keys in WINDOW records from before this process are unknown.
  states.windowChunks.set(5, 1);
  checkpoint(true);
  // All keys of it have left the window; the checkpoint on disk names it.
  states.windowChunks.delete(5);
  states.windowChunks.set(50, 2);
  checkpoint(false);
  checkpoint(true);
  checkpoint(true);
  states.windowChunks.delete(50);
  checkpoint(true);
  checkpoint(true);
  assert.equal(given, [0, 5, 5, 50, 50, 100]);
});

test.run();
