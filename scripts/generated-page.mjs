// Helpers for the scripts that write a page of docs/ from the code.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const docs = fileURLToPath(new URL("../docs", import.meta.url));

const COLUMNS = 100;

/** A paragraph in lines; what stands in backticks isn't broken. */
export function filled(text) {
  const lines = [""];
  for (const word of text.match(/(?:`[^`]*`|[^\s`])+/g)) {
    const line = lines.at(-1);
    if (line === "") lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= COLUMNS) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines.join(text.startsWith("- ") ? "\n  " : "\n");
}

/** Writes the page if `url` is the script that Node was started with; a test imports it instead. */
export function writePage({ url }, name, pageOf) {
  if (process.argv[1] === fileURLToPath(url)) writeFileSync(join(docs, name), pageOf());
}
