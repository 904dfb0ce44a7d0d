// Writes the table of metrics in docs/operate.md from their definitions; test/ops/metrics holds the
// page to them.
import { readFileSync } from "node:fs";
import { METRICS } from "millrace";
import { writePage } from "./generated-page.mjs";

const page = new URL("../docs/operate.md", import.meta.url);
const PART = /(<!-- metrics: [^>]* -->\n)[^]*?(<!-- \/metrics -->)/;

export function operatePage() {
  const rows = METRICS.map(({ name, type, labels, help }) => {
    const shown = labels.length === 0 ? "" : labels.map((label) => `\`${label}\``).join(", ");
    return `| \`${name}\` | ${type} | ${shown} | ${help} |`;
  });
  const table = ["| metric | type | labels | |", "|---|---|---|---|", ...rows].join("\n");
  return readFileSync(page, "utf8").replace(PART, (_, begin, end) => `${begin}\n${table}\n\n${end}`);
}

writePage(import.meta, "operate.md", operatePage);
