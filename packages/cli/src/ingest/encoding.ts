/** Bytes of any encoding as UTF-8. */
import { cliError } from "../errors.ts";

const LATIN_1 = /^(latin-?1|iso-?8859-1)$/i;
const UTF_8 = /^utf-?8$/i;

/** Byte order marks, in Latin-1. */
const MARKS: readonly (readonly [mark: string, encoding: string])[] = [
  ["\xef\xbb\xbf", "utf-8"],
  ["\xff\xfe", "utf-16le"],
  ["\xfe\xff", "utf-16be"],
];

/** Throws `ERR_CLI_USAGE` for an encoding that is unknown. */
export function checkEncoding(encoding: string): void {
  if (LATIN_1.test(encoding)) return;
  try {
    decoderOf(encoding);
  } catch (cause) {
    throw cliError("ERR_CLI_USAGE", `--encoding: "${encoding}" is no known encoding`, { cause, details: { encoding } });
  }
}

function decoderOf(encoding: string): InstanceType<typeof TextDecoder> {
  return new TextDecoder(encoding, { fatal: true, ignoreBOM: true });
}

/**
 * `chunks` as UTF-8, without the byte order mark. UTF-8 isn't checked here: the splitters do so
 * record by record. Throws `ERR_INGEST_INPUT`.
 */
export function decoded(
  chunks: AsyncIterable<Buffer>,
  beginning: Buffer,
  given: string | undefined,
  path: string,
): { readonly chunks: AsyncIterable<Buffer>; readonly encoding: string } {
  const begin = beginning.toString("latin1");
  const [mark = "", marked] = MARKS.find(([each]) => begin.startsWith(each)) ?? [];
  const encoding = (given ?? marked ?? "utf-8").toLowerCase();
  if (given === undefined && marked === undefined && /^(\0[^\0]|[^\0]\0)/.test(begin)) {
    const guess = begin.startsWith("\0") ? "utf-16be" : "utf-16le";
    const text = `${path} looks like UTF-16 without a byte order mark; pass --encoding ${guess}`;
    throw cliError("ERR_INGEST_INPUT", text, { details: { path, encoding: guess } });
  }
  const isMarked = marked !== undefined && (marked === encoding || (marked === "utf-8" && UTF_8.test(encoding)));
  const rest = isMarked ? without(chunks, mark.length) : chunks;
  if (UTF_8.test(encoding)) return { chunks: rest, encoding: "utf-8" };
  return { chunks: LATIN_1.test(encoding) ? fromLatin1(rest) : fromOther(rest, encoding, path), encoding };
}

async function* without(chunks: AsyncIterable<Buffer>, bytes: number): AsyncGenerator<Buffer> {
  let left = bytes;
  for await (const chunk of chunks) {
    const cut = Math.min(left, chunk.length);
    left -= cut;
    if (cut < chunk.length) yield chunk.subarray(cut);
  }
}

/** Every byte is a character. */
async function* fromLatin1(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) yield Buffer.from(chunk.toString("latin1"));
}

async function* fromOther(chunks: AsyncIterable<Buffer>, encoding: string, path: string): AsyncGenerator<Buffer> {
  const decoder = decoderOf(encoding);
  let offset = 0;
  const decode = (chunk: Buffer | undefined): Buffer => {
    try {
      return Buffer.from(decoder.decode(chunk, { stream: chunk !== undefined }));
    } catch (cause) {
      const until = offset + (chunk?.length ?? 0);
      const text = `${path}: the bytes from ${offset} to ${until} aren't all ${encoding}`;
      throw cliError("ERR_INGEST_INPUT", text, { cause, details: { path, encoding, from: offset, until } });
    }
  };
  for await (const chunk of chunks) {
    const text = decode(chunk);
    offset += chunk.length;
    if (text.length > 0) yield text;
  }
  const last = decode(undefined);
  if (last.length > 0) yield last;
}
