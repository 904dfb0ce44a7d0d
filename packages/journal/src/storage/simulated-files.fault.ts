/**
 * The files of a simulated disk: blocks, sizes, and the versions that a power cut may leave of
 * them.
 */
export const BLOCK_BYTES = 4096;
const SECTOR_BYTES = 512;
const SECTORS: number = BLOCK_BYTES / SECTOR_BYTES;

/** Never changed once it is in a file. */
export type Block = Uint8Array;
export const ZEROS: Block = new Uint8Array(BLOCK_BYTES);

export interface PendingBlock {
  /** Blocks written since the last sync that counted, oldest first. */
  readonly versions: Block[];
  /** A failed sync has dropped it: no sync makes it durable, unless it is written again. */
  isLost: boolean;
}

export interface Inode {
  readonly isDirectory: boolean;
  /** Blocks as the kernel shows them; `undefined` is a hole. */
  blocks: (Block | undefined)[];
  size: number;
  /** Blocks that are on disk for certain. */
  safeBlocks: (Block | undefined)[];
  safeSize: number;
  readonly pending: Map<number, PendingBlock>;
  pendingSizes: number[];
}

export function emptyInode(isDirectory: boolean): Inode {
  return { isDirectory, blocks: [], size: 0, safeBlocks: [], safeSize: 0, pending: new Map(), pendingSizes: [] };
}

export function copyInode(inode: Inode): Inode {
  const pending = new Map(
    [...inode.pending].map(([index, { versions, isLost }]) => [index, { versions: [...versions], isLost }]),
  );
  return {
    ...inode,
    blocks: [...inode.blocks],
    safeBlocks: [...inode.safeBlocks],
    pending,
    pendingSizes: [...inode.pendingSizes],
  };
}

export function settle(inode: Inode): void {
  inode.safeBlocks = [...inode.blocks];
  inode.safeSize = inode.size;
  inode.pending.clear();
  inode.pendingSizes = [];
}

/** Writes `bytes` of `buffers` as far as `room` for new blocks allows; returns how many. */
export function writeInode(
  inode: Inode,
  buffers: readonly Uint8Array[],
  position: number,
  bytes: number,
  room: number,
): number {
  const source = buffers.length === 1 ? (buffers[0] as Uint8Array) : Buffer.concat(buffers as Uint8Array[]);
  let free = room;
  let done = 0;
  while (done < bytes) {
    const index = Math.floor((position + done) / BLOCK_BYTES);
    const at = (position + done) % BLOCK_BYTES;
    const part = source.subarray(done, Math.min(bytes, done + BLOCK_BYTES - at));
    const old = inode.blocks[index];
    // Nothing new is needed within the file, also where a power cut has brought removed files back
    // and the disk holds more than it has room for.
    if (old === undefined) {
      if (free <= 0) break;
      free -= 1;
    }
    const block = new Uint8Array(old ?? ZEROS);
    block.set(part, at);
    putBlock(inode, index, block);
    done += part.length;
  }
  if (done > 0 && position + done > inode.size) resize(inode, position + done);
  return done;
}

export function readInode(inode: Inode, buffer: Uint8Array, length: number, position: number): number {
  const bytes = Math.max(0, Math.min(length, inode.size - position));
  for (let done = 0; done < bytes;) {
    const index = Math.floor((position + done) / BLOCK_BYTES);
    const at = (position + done) % BLOCK_BYTES;
    const part = (inode.blocks[index] ?? ZEROS).subarray(at, Math.min(BLOCK_BYTES, at + bytes - done));
    buffer.set(part, done);
    done += part.length;
  }
  return bytes;
}

function putBlock(inode: Inode, index: number, block: Block | undefined): void {
  inode.blocks[index] = block;
  const pending = inode.pending.get(index);
  if (pending === undefined) {
    inode.pending.set(index, { versions: [block ?? ZEROS], isLost: false });
  } else {
    pending.versions.push(block ?? ZEROS);
    pending.isLost = false;
  }
}

function resize(inode: Inode, size: number): void {
  inode.size = size;
  inode.pendingSizes.push(size);
}

export function truncateInode(inode: Inode, bytes: number): void {
  resize(inode, bytes);
  const kept = Math.ceil(bytes / BLOCK_BYTES);
  for (let index = kept; index < inode.blocks.length; index += 1) putBlock(inode, index, undefined);
  inode.blocks.length = Math.min(inode.blocks.length, kept);
  if (bytes % BLOCK_BYTES !== 0 && inode.blocks[kept - 1] !== undefined) {
    const last = new Uint8Array(inode.blocks[kept - 1] as Block);
    last.fill(0, bytes % BLOCK_BYTES);
    putBlock(inode, kept - 1, last);
  }
}

/** Blocks behind the size are gone. */
export function cut(inode: Inode): void {
  inode.blocks.length = Math.min(inode.blocks.length, Math.ceil(inode.size / BLOCK_BYTES));
}

export function mix(before: Block, after: Block, sectors: number): Block {
  const block = new Uint8Array(before);
  for (let sector = 0; sector < SECTORS; sector += 1) {
    if ((sectors & (1 << sector)) === 0) continue;
    const start = sector * SECTOR_BYTES;
    block.set(after.subarray(start, start + SECTOR_BYTES), start);
  }
  return block;
}

const fingerprints = new WeakMap<Block, string>();

/** Two different polynomials over a block's words. 64 bits tell the states of a test apart. */
export function fingerprintOf(block: Block): string {
  let known = fingerprints.get(block);
  if (known !== undefined) return known;
  const words = new Int32Array(block.buffer, block.byteOffset, BLOCK_BYTES / 4);
  let first = 0;
  let second = 0;
  for (const word of words) {
    first = (Math.imul(first, 0x01000193) ^ word) | 0;
    second = (Math.imul(second ^ word, 0x5bd1e995) + 1) | 0;
  }
  known = `${(first >>> 0).toString(36)}.${(second >>> 0).toString(36)}`;
  fingerprints.set(block, known);
  return known;
}
