import { test } from "uvu";
import * as assert from "uvu/assert";
import { Parker, ThreadTable } from "@millrace/atomics-sync";
import { JournalProducer } from "@millrace/journal/kernel";
// Internal to the package; only its own tests reach for them.
import {
  controlBytes,
  type JournalMemory,
  RECEIPT,
  receiptsBytes,
  receiptsPlace,
} from "@millrace/journal/internal/memory/control";
import { WRITER_STATS_BYTES } from "@millrace/journal/internal/memory/stats";
import { HISTOGRAM_BYTES } from "@millrace/metrics";
import { createByteRing, SpscProducer } from "@millrace/shared-memory";

const NO_BYTES = new Uint8Array(0);
const RECORD = { type: 3, priority: 0, timeMs: 0, header: NO_BYTES, key: NO_BYTES, payload: new Uint8Array(12) };

/**
 * A journal with one ring, whose records may wait for company. The test takes the writer's place.
 */
function lazyMemory(): JournalMemory {
  const threads = ThreadTable.current();
  const thread = threads.reserve();
  return {
    control: new SharedArrayBuffer(controlBytes(1)),
    stats: new SharedArrayBuffer(WRITER_STATS_BYTES),
    syncHistogram: new SharedArrayBuffer(HISTOGRAM_BYTES),
    batchHistogram: new SharedArrayBuffer(HISTOGRAM_BYTES),
    threads: threads.buffer,
    writerThread: thread,
    keeperThread: thread,
    rings: [
      { ring: createByteRing(4096), receipts: new SharedArrayBuffer(receiptsBytes()), isState: true, isLazy: true },
    ],
    delivery: undefined,
    recordBytesMax: 1024,
    batchBytesMax: 1024,
  };
}

test("a record that may wait wakes the writer, unless others are on their way", () => {
  const memory = lazyMemory();
  const producer = new JournalProducer(memory, 0);
  const writer = new Parker(new Int32Array(memory.threads), memory.writerThread);
  const receipts = receiptsPlace(memory.rings[0]?.receipts as SharedArrayBuffer);
  const isWoken = (): boolean => {
    assert.ok(producer.stage(RECORD));
    writer.prepare();
    producer.commitLazily();
    const isNotified = writer.isNotified();
    writer.cancel();
    return isNotified;
  };
  const answer = (): void => {
    const sent = new SpscProducer(receipts);
    const word = sent.stage();
    receipts.words[word + RECEIPT.end] = producer.committed;
    receipts.words[word + RECEIPT.count] = 2;
    sent.publish();
  };

  assert.ok(isWoken(), "the writer may be in the midst of its longest sleep");
  assert.not(isWoken(), "it knows of the first one and will look again");
  answer();
  assert.ok(isWoken(), "it has written all, whether this producer has seen that or not");
  assert.ok(producer.nextReceipt());
  assert.not(isWoken(), "the last one is still on its way");
});

test.run();
