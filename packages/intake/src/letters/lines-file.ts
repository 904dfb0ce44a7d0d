/** A new file of JSON lines that only its owner may read. */
import { open, unlink } from "node:fs/promises";
import { completeFile, partOfNew } from "@millrace/journal/kernel";

const OWNER_ONLY = 0o600;
/** Bytes that gather before they are written. */
const CHUNK_BYTES: number = 2 ** 18;

/**
 * Writes the lines to disk, and returns their number. Leaves nothing if that fails. Throws the
 * system's errors, `EEXIST` for a file that is there.
 */
export async function writeLines(path: string, lines: AsyncIterable<object>): Promise<number> {
  const part = partOfNew(path);
  const file = await open(part, "wx", OWNER_ONLY);
  let isComplete = false;
  try {
    let count = 0;
    let chunk = "";
    for await (const line of lines) {
      chunk += `${JSON.stringify(line)}\n`;
      count += 1;
      if (chunk.length < CHUNK_BYTES) continue;
      await file.appendFile(chunk);
      chunk = "";
    }
    await file.appendFile(chunk);
    await file.sync();
    completeFile(part, path);
    isComplete = true;
    return count;
  } finally {
    await file.close();
    // The error that made the export fail is the one that counts.
    if (!isComplete) await unlink(part).catch(() => {});
  }
}
