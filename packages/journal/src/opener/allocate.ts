/** The shared memory of a journal, and which thread has which of its rings. */
import type { ThreadTable } from "@millrace/atomics-sync";
import { HISTOGRAM_BYTES } from "@millrace/metrics";
import { createByteRing } from "@millrace/shared-memory";
import {
  controlBytes,
  deliveryReceiptsBytes,
  type JournalMemory,
  NO_THREAD,
  producerWord,
  receiptsBytes,
  type RingMemory,
} from "../memory/control.ts";
import type { ResolvedJournalOptions } from "./options.ts";
import { WRITER_STATS_BYTES } from "../memory/stats.ts";

/**
 * Ring 0 is the opener's for data, ring 1 the delivery thread's. The opener's ring for state
 * records follows, then the producers' rings.
 */
export function stateRing({ deliveryThread }: ResolvedJournalOptions): number {
  return deliveryThread === undefined ? 1 : 2;
}

export function allocate(options: ResolvedJournalOptions, threads: ThreadTable, opener: number): JournalMemory {
  const ring = (isState: boolean, isLazy = false): RingMemory => ({
    ring: createByteRing(options.ringBytes),
    receipts: new SharedArrayBuffer(receiptsBytes()),
    isState,
    isLazy,
  });
  const { deliveryThread, producers } = options;
  const rings = [ring(false)];
  const owners = [opener];
  if (deliveryThread !== undefined) {
    rings.push(ring(true, true));
    owners.push(deliveryThread);
  }
  rings.push(ring(true));
  owners.push(opener);
  for (let producer = 0; producer < producers; producer += 1) rings.push(ring(false));
  const control = new SharedArrayBuffer(controlBytes(rings.length));
  const words = new Int32Array(control);
  for (let index = 0; index < rings.length; index += 1) words[producerWord(index)] = owners[index] ?? NO_THREAD;
  return {
    control,
    stats: new SharedArrayBuffer(WRITER_STATS_BYTES),
    syncHistogram: new SharedArrayBuffer(HISTOGRAM_BYTES),
    batchHistogram: new SharedArrayBuffer(HISTOGRAM_BYTES),
    threads: threads.buffer,
    writerThread: threads.reserve(),
    keeperThread: threads.reserve(),
    rings,
    delivery:
      deliveryThread === undefined
        ? undefined
        : { receipts: new SharedArrayBuffer(deliveryReceiptsBytes()), thread: deliveryThread },
    recordBytesMax: options.recordBytesMax,
    batchBytesMax: options.batchBytesMax,
  };
}
