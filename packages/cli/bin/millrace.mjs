#!/usr/bin/env node
// Committed, so that the link exists right after an install; the command itself is compiled.
import { existsSync } from "node:fs";

const entry = new URL("../dist/main.js", import.meta.url);
if (existsSync(entry)) {
  // Loading the rest takes a while, in which a signal can come already.
  await import(new URL("../dist/terminal/signals.js", import.meta.url).href);
  const { main } = await import(entry.href);
  process.exitCode = await main(process.argv.slice(2));
} else {
  process.stderr.write("millrace: not compiled yet; run `npm run build` in the repository first\n");
  process.exitCode = 1;
}
