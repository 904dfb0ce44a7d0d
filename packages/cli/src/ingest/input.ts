/**
 * The bytes of an input: of a file, a pipe or stdin, decompressed, as UTF-8 without a byte order
 * mark.
 */
import { closeSync, constants, createReadStream, open, openSync, type Stats } from "node:fs";
import { stat } from "node:fs/promises";
import { Socket } from "node:net";
import { Readable, type Transform } from "node:stream";
import { promisify } from "node:util";
import * as zlib from "node:zlib";
import { isMillraceError, messageOf } from "@millrace/base";
import { cliError } from "../errors.ts";
import { decoded } from "./encoding.ts";

export interface Input {
  /** Never empty chunks; as they are valid until the next one is asked for. */
  readonly chunks: AsyncIterable<Buffer>;
  /** The first of them, which is among `chunks` too; empty for an empty input. */
  readonly first: Buffer;
  /** Bytes read so far, and in all; undefined for a pipe. */
  readonly readBytes: () => number;
  readonly totalBytes: number | undefined;
  readonly compression: string | undefined;
  readonly encoding: string;
}

const CHUNK_BYTES: number = 256 * 1024;
/** The longest beginning by which something is recognised. */
const MAGIC_BYTES = 8;

/**
 * Opens `path`, "-" for stdin; the input ends when `stop` aborts. `encoding`: undefined for UTF-8,
 * or what a byte order mark says. Throws `ERR_INGEST_INPUT`.
 */
export async function openInput(path: string, encoding: string | undefined, stop: AbortSignal): Promise<Input> {
  const stats = await statsOf(path);
  let readBytes = 0;
  const raw = withErrors(
    () => streamOf(path, stats, stop),
    path,
    stop,
    (bytes) => (readBytes += bytes),
  );
  const [magic, whole] = await peek(raw, MAGIC_BYTES);
  const compression = compressionOf(magic, path);
  const plain = compression === undefined ? whole : decompressed(whole, compression, path, stop);
  const [beginning, all] = await peek(plain, MAGIC_BYTES);
  const text = decoded(all, beginning, encoding, path);
  const [first, chunks] = await peek(text.chunks, 1);
  const totalBytes = stats?.isFile() === true ? stats.size : undefined;
  return { chunks, first, readBytes: () => readBytes, totalBytes, compression, encoding: text.encoding };
}

/**
 * Undefined of stdin. Throws `ERR_INGEST_INPUT`.
 *
 * Not `statSync`: when that has seen a pipe, the next `realpathSync` of Node 20 takes links for
 * what they lead to, and `require` finds no packages.
 */
export async function statsOf(path: string): Promise<Stats | undefined> {
  if (path === "-") return mustNotBeDirectory();
  let stats: Stats;
  try {
    stats = await stat(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
  if (stats.isFile() || stats.isFIFO() || stats.isCharacterDevice()) return stats;
  const what = stats.isDirectory() ? "a directory" : "neither a file nor a pipe";
  throw cliError("ERR_INGEST_INPUT", `${path} is ${what}`, { details: { path } });
}

/**
 * Node takes a directory as stdin for an empty input. Not `fstatSync`, for the same reason as in
 * `statsOf`. Where the system has no such name nothing is known.
 */
async function mustNotBeDirectory(): Promise<undefined> {
  const isDirectory = await stat("/dev/stdin").then(
    (stats) => stats.isDirectory(),
    () => false,
  );
  if (isDirectory) throw cliError("ERR_INGEST_INPUT", "stdin is a directory", { details: { path: "-" } });
}

function unreadable(path: string, cause: unknown): Error {
  return cliError("ERR_INGEST_INPUT", `${path} can't be read: ${messageOf(cause)}`, { cause, details: { path } });
}

async function streamOf(path: string, stats: Stats | undefined, stop: AbortSignal): Promise<Readable> {
  if (stats === undefined) return process.stdin;
  if (!stats.isFIFO()) return createReadStream(path, { highWaterMark: CHUNK_BYTES });
  // A read of a pipe without a writer holds a thread of libuv's, and with it the end of the
  // process. A socket waits in the event loop.
  return new Socket({ fd: await openPipe(path, stop), readable: true, writable: false });
}

/** Waits for somebody who writes to the pipe, as every open does. */
async function openPipe(path: string, stop: AbortSignal): Promise<number> {
  // A writer of our own ends the wait.
  const abort = (): void => {
    try {
      closeSync(openSync(path, constants.O_WRONLY | constants.O_NONBLOCK));
    } catch {
      // Nobody waits at the pipe any more.
    }
  };
  stop.addEventListener("abort", abort, { once: true });
  try {
    return await promisify(open)(path, constants.O_RDONLY);
  } finally {
    stop.removeEventListener("abort", abort);
  }
}

async function* withErrors(
  openStream: () => Promise<Readable>,
  path: string,
  stop: AbortSignal,
  read: (bytes: number) => void,
): AsyncGenerator<Buffer> {
  let stream: Readable | undefined;
  // An idle pipe gives no chunk after which one could look.
  const abort = (): void => void stream?.destroy();
  stop.addEventListener("abort", abort, { once: true });
  try {
    stream = await openStream();
    if (stop.aborted) abort();
    for await (const chunk of stream) {
      read((chunk as Buffer).length);
      yield chunk as Buffer;
    }
  } catch (cause) {
    if (stop.aborted) return;
    throw unreadable(path, cause);
  } finally {
    stop.removeEventListener("abort", abort);
    stream?.destroy();
  }
}

/** The first chunks, until they have `bytes` or the input ends, as one; and all chunks. */
async function peek(chunks: AsyncIterable<Buffer>, bytes: number): Promise<[Buffer, AsyncIterable<Buffer>]> {
  const iterator = chunks[Symbol.asyncIterator]();
  const seen: Buffer[] = [];
  let length = 0;
  while (length < bytes) {
    const next = await iterator.next();
    if (next.done === true) break;
    seen.push(next.value);
    length += next.value.length;
  }
  const beginning = Buffer.concat(seen);
  async function* all(): AsyncGenerator<Buffer> {
    try {
      if (beginning.length > 0) yield beginning;
      for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) yield next.value;
    } finally {
      await iterator.return?.();
    }
  }
  return [beginning, all()];
}

// ── compression ─────────────────────────────────────────────────────────────────────────────────

/** How files of other kinds begin, in Latin-1: of these it is said what they are. */
const MAGIC: readonly (readonly [begin: string, kind: string])[] = [
  ["\x1f\x8b", "gzip"],
  ["\x28\xb5\x2f\xfd", "zstd"],
  ["PK\x03\x04", "a zip archive"],
  ["BZh", "bzip2"],
  ["\xfd7zXZ", "xz"],
  ["PAR1", "Parquet"],
  ["ARROW1", "Arrow"],
  ["Obj\x01", "Avro"],
];

function compressionOf(magic: Buffer, path: string): string | undefined {
  const text = magic.toString("latin1");
  const kind = MAGIC.find(([begin]) => text.startsWith(begin))?.[1];
  // Brotli has no beginning of its own.
  if (kind === undefined) return /\.br$/i.test(path) && magic.length > 0 ? "brotli" : undefined;
  if (kind === "gzip" || kind === "zstd") return kind;
  throw cliError("ERR_INGEST_INPUT", `${path} is ${kind}, which ingest doesn't read`, { details: { path, kind } });
}

function decompressor(compression: string, path: string): Transform {
  const options = { chunkSize: CHUNK_BYTES };
  if (compression === "gzip") return zlib.createGunzip(options);
  if (compression === "brotli") return zlib.createBrotliDecompress(options);
  const { createZstdDecompress } = zlib as { createZstdDecompress?: (given: object) => Transform };
  if (createZstdDecompress !== undefined) return createZstdDecompress(options);
  const text = `${path} is compressed by zstd, which Node ${process.versions.node} can't read; Node 22.15 can`;
  throw cliError("ERR_INGEST_INPUT", text, { details: { path, compression } });
}

async function* decompressed(
  chunks: AsyncIterable<Buffer>,
  compression: string,
  path: string,
  stop: AbortSignal,
): AsyncGenerator<Buffer> {
  const transform = decompressor(compression, path);
  const source = Readable.from(chunks, { objectMode: true });
  source.on("error", (error) => transform.destroy(error));
  source.pipe(transform);
  try {
    for await (const chunk of transform) yield chunk as Buffer;
  } catch (cause) {
    // An input that a signal has cut off isn't complete.
    if (stop.aborted) return;
    if (isMillraceError(cause)) throw cause;
    const text = `${path} can't be decompressed (${compression}): ${messageOf(cause)}`;
    throw cliError("ERR_INGEST_INPUT", text, { cause, details: { path, compression } });
  } finally {
    source.destroy();
  }
}
