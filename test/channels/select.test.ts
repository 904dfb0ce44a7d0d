import { test } from "uvu";
import * as assert from "uvu/assert";
import { seededRandom } from "@millrace/base";
import { currentSpace } from "@millrace/atomics-sync/kernel";
import { after, Chan, otherwise, recv, select, selectAsync, send } from "@millrace/channels";
import type { ChanEnd, ChanResult } from "../fixtures/chan-ends.ts";
import { runThreads } from "../fixtures/threads.ts";
import { rejectsWith, throwsWith } from "../support.ts";

test("of cases that are ready at once a random one is taken, as the seed decides", () => {
  const chans = [Chan.int32(400), Chan.int32(400), Chan.int32(400)] as const;
  const random = seededRandom(7);
  const taken = [0, 0, 0];
  for (const chan of chans) for (let value = 0; value < 400; value += 1) chan.send(value);
  for (let round = 0; round < 300; round += 1) {
    const { index } = select(
      chans.map((chan) => recv(chan)),
      { random },
    ) as { index: number };
    taken[index] = (taken[index] as number) + 1;
  }
  for (const count of taken) assert.ok(count > 60, taken.join());
  for (const chan of chans) {
    chan.close();
    chan.free();
  }
});

test("otherwise is for when nothing is ready; values that weren't sent are freed", () => {
  const used = currentSpace().heap.usedBytes();
  const [full, empty] = [new Chan<string>(1), new Chan<number>(0)];
  full.send("in it");
  const chosen = select([send(full, "more"), recv(empty), otherwise()]);
  assert.equal(chosen, { index: 2, ok: true, value: undefined });
  const second = select([recv(full), send(empty, 5), otherwise()]);
  // The type of `value` follows from `index`.
  if (second.index === 0 && second.ok) assert.is(second.value.toUpperCase(), "IN IT");
  else assert.unreachable();
  for (const chan of [full, empty]) {
    chan.close();
    chan.free();
  }
  assert.is(currentSpace().heap.usedBytes(), used);
});

test("the shortest after ends the wait; a time limit of the whole rejects", async () => {
  const chan = new Chan<number>(0);
  assert.is((await selectAsync([recv(chan), after(60_000), after(1)])).index, 2);
  await rejectsWith(selectAsync([recv(chan)], { timeoutMs: 1 }), "ERR_SYNC_TIMEOUT");
  const controller = new AbortController();
  const waiting = selectAsync([recv(chan), send(chan, 1)], { signal: controller.signal });
  controller.abort(new Error("enough"));
  assert.is(await waiting.then(String, (thrown: Error) => thrown.message), "enough");
  assert.not(chan.trySend(1), "nobody waits");
  throwsWith(() => select([recv(chan)]), "ERR_BLOCKING_MAIN");
  throwsWith(() => select([]), "ERR_SELECT_CASES");
  chan.close();
  chan.free();
});

test("a closed channel is ready to receive from, an error to send to, also mid-wait", async () => {
  const [open, closing] = [new Chan<number>(0), new Chan<number>(0)];
  const receiving = selectAsync([recv(open), recv(closing)]);
  const sending = selectAsync([recv(open), send(closing, 1)]);
  assert.is((await receiving).index, 1, "the two selects meet");
  assert.is((await sending).index, 1);
  const told = selectAsync([recv(open), recv(closing)]);
  const other = new Chan<number>(0);
  const refused = selectAsync([recv(open), send(other, 3)]);
  closing.close();
  assert.equal(await told, { index: 1, ok: false, value: undefined });
  other.close();
  await rejectsWith(refused, "ERR_CHAN_CLOSED");
  open.close();
  throwsWith(() => select([send(closing, 1)]), "ERR_CHAN_CLOSED");
  for (const chan of [open, closing, other]) chan.free();
});

test("threads that only select, sending and receiving at once, lose and double nothing", async () => {
  const [east, west] = [new Chan<number>(0), new Chan<number>(1)];
  const count = 300;
  const results = await Promise.all([
    runThreads<ChanResult>("chan-ends", [
      { handle: east.handle, other: west.handle, role: "selects", first: 0, count } satisfies ChanEnd,
    ]),
    runThreads<ChanResult>("chan-ends", [
      { handle: west.handle, other: east.handle, role: "selects", first: count, count } satisfies ChanEnd,
    ]),
  ]);
  const received = results.flat().flatMap((result) => result.received as number[]);
  assert.is(new Set(received).size, received.length);
  assert.is(received.length, 2 * count);
  for (const chan of [east, west]) {
    assert.ok(chan.isClosed);
    chan.free();
  }
});

test.run();
