/**
 * Values as blocks of the shared heap: a word with the length in bytes, then the bytes. The sender
 * makes the block, the receiver frees it.
 */
import { StackGuard } from "@millrace/atomics-sync/kernel";
import { decode, encode } from "@millrace/codec";
import type { SharedHeap } from "@millrace/shared-memory";
import { channelError } from "./errors.ts";

const LENGTH_BYTES = 4;
/** The heap's own steps must not be broken off by a full stack. */
const stack: StackGuard = new StackGuard();

/** Frees the block of a value that nobody takes. */
export function dropValue(heap: SharedHeap, block: number): void {
  stack.assertRoomUntilWarm();
  heap.free(block);
}

/** A block with `value`: its reference. Throws `ERR_VALUE_UNSUPPORTED`, `ERR_CHAN_MEMORY`. */
export function writeValue(heap: SharedHeap, value: unknown): number {
  const bytes = encode(value);
  stack.assertRoomUntilWarm();
  const blockBytes = LENGTH_BYTES + bytes.length;
  const block = heap.allocate(blockBytes);
  if (block < 0) {
    throw channelError("ERR_CHAN_MEMORY", `no room for a value of ${bytes.length} bytes`, {
      details: { bytes: bytes.length },
    });
  }
  heap.wordsOf(block, 1)[block * 16] = bytes.length;
  heap.bytesOf(block, blockBytes).set(bytes, block * 64 + LENGTH_BYTES);
  return block;
}

/** The value in a block, which is freed. */
export function takeValue(heap: SharedHeap, block: number): unknown {
  stack.assertRoomUntilWarm();
  const length = heap.wordsOf(block, 1)[block * 16] as number;
  const start = block * 64 + LENGTH_BYTES;
  const bytes = heap.bytesOf(block, LENGTH_BYTES + length);
  try {
    return decode(bytes, start, start + length);
  } finally {
    heap.free(block);
  }
}
