export { Arena, type CreateRegion, forgetArena, GIVE_BACK_TICKS } from "./arena.ts";
export { ArenaView, type FindRegion } from "./arena-view.ts";
export { clearBit, countBits, hasBit, isMaskEmpty, lowestBit, maskWords, setBit } from "./bit-mask.ts";
export {
  BYTE_RING_CAPACITY_MAX,
  ByteRingProducer,
  ByteRingReleaser,
  ByteRingTaker,
  createByteRing,
  FRAME_ALIGNMENT,
  FRAME_WORD_BYTES,
  FRAMES_OFFSET,
  frameBytes,
  frameContinues,
  frameLength,
} from "./byte-ring.ts";
export { alignUp, isPowerOfTwo, LINE_BYTES, LINE_WORDS } from "./line.ts";
export {
  ARENA_WORDS,
  blockBytes,
  firstRegionBytes,
  initArenaTable,
  makeRegion,
  MAPPED,
  offsetOf,
  WANTED,
} from "./region-table.ts";
export { RunQueue, runQueueLength, type RunQueuePlace, runQueueSnapshot, runQueueWords } from "./run-queue.ts";
export {
  SpscConsumer,
  SpscProducer,
  spscRingLength,
  type SpscRingPlace,
  spscRingSnapshot,
  spscRingWords,
} from "./spsc-ring.ts";
export { createSharedHeap, HEAP_BYTES_MAX, SharedHeap } from "./shared-heap.ts";
export { EMPTY, FULL, REFUSED, RETRY } from "./status.ts";
