// The examples in the documents run as they stand: blocks that begin with `// NAME.mjs` are files, and a block of text after them is what the
// first file since the last such block prints.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const root = fileURLToPath(new URL("../../..", import.meta.url));

interface Example {
  readonly files: { readonly name: string; readonly text: string }[];
  prints: string;
}

function examplesIn(text: string): Example[] {
  const examples: Example[] = [];
  let files: Example["files"] = [];
  for (const [, language, block = ""] of text.matchAll(/```(js|text)\n([\s\S]*?)```/g)) {
    const name = /^\/\/ ([\w-]+\.mjs)\n/.exec(block)?.[1];
    if (language === "js" && name !== undefined) files.push({ name, text: block });
    if (language !== "text" || files.length === 0) continue;
    examples.push({ files, prints: block });
    files = [];
  }
  assert.is(files.length, 0, "every example says what it prints");
  return examples;
}

const documents = readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md"));
let found = 0;

for (const document of documents) {
  for (const { files, prints } of examplesIn(readFileSync(join(root, "docs", document), "utf8"))) {
    const main = files[0]?.name as string;
    found += 1;
    test(`docs/${document}: ${main} prints what the page says`, () => {
      // In the workspace, where packages are found.
      const directory = join(root, ".build", "examples", `${document}-${main}`);
      rmSync(directory, { recursive: true, force: true });
      mkdirSync(directory, { recursive: true });
      for (const { name, text } of files) writeFileSync(join(directory, name), text);
      const printed = execFileSync(process.execPath, [main], { cwd: directory, encoding: "utf8", timeout: 30_000 });
      assert.is(printed, prints);
      rmSync(directory, { recursive: true });
    });
  }
}

test("there are examples", () => {
  assert.ok(found >= 3);
});

test.run();
