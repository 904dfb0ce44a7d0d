import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { errors } from "millrace";

const root = fileURLToPath(new URL("../../..", import.meta.url));

test("docs/errors.md is what the tables in the code say", async () => {
  const { errorsPage } = (await import(join(root, "scripts/errors-page.mjs"))) as { errorsPage: () => string };
  assert.is(readFileSync(join(root, "docs/errors.md"), "utf8"), errorsPage());
});

test("every code that the sources name is in a table, and every code in a table is used", () => {
  const sources = readdirSync(join(root, "packages"), { recursive: true })
    .map(String)
    .filter((file) => /^[a-z-]+\/src\/.*\.ts$/.test(file))
    .map((file) => readFileSync(join(root, "packages", file), "utf8"));
  const page = readFileSync(join(root, "docs/errors.md"), "utf8");
  const named = new Set(
    sources.flatMap((text) => [...text.matchAll(/"(ERR_[A-Z_]+)"/g)].map((match) => match[1] as string)),
  );
  named.delete("ERR_UNEXPECTED");
  for (const code of named) assert.ok(page.includes(`### ${code}\n`), `${code} is documented`);
  for (const code of Object.keys(errors)) {
    // Beyond the table itself and the list of codes.
    const uses = sources.filter((text) => text.includes(`"${code}",`) || text.includes(`"${code}")`)).length;
    assert.ok(uses > 0, `${code} is used`);
  }
});

test("the README's example runs as it stands", () => {
  const blocks = [...readFileSync(join(root, "README.md"), "utf8").matchAll(/```js\n([\s\S]*?)```/g)].map(
    (match) => match[1] as string,
  );
  assert.is(blocks.length, 2);
  const [handlers, service] = blocks as [string, string];
  assert.ok(service.split("\n").length <= 21, "the example stays short");
  const directory = join(root, ".build", "readme-example");
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "handlers.mjs"), handlers);
  writeFileSync(join(directory, "service.mjs"), service);
  const run = (): string => execFileSync(process.execPath, ["service.mjs"], { cwd: directory, encoding: "utf8" });
  assert.is(run(), "A-1 10 (record none)\nrecord 1 is durable\n");
  assert.match(run(), /record \d+ is durable/);
  rmSync(directory, { recursive: true });
});

test("the examples of docs/locks.md run as they stand", () => {
  const blocks = [...readFileSync(join(root, "docs/locks.md"), "utf8").matchAll(/```js\n([\s\S]*?)```/g)].map(
    (match) => match[1] as string,
  );
  const expected = [
    "2000 false\n",
    "true true\nfalse\n",
    "2 1 undefined\n3\n",
    "{ abandoned: 0 } 0\n",
    "set up\ntrue false true\n",
    "an item\n",
    "[ false, true ]\nERR_SYNC_TIMEOUT true\nfalse\n",
  ];
  assert.is(blocks.length, expected.length);
  const directory = join(root, ".build", "locks-examples");
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  for (const [index, block] of blocks.entries()) {
    writeFileSync(join(directory, `${index}.mjs`), block);
    const output = execFileSync(process.execPath, [`${index}.mjs`], { cwd: directory, encoding: "utf8" });
    assert.is(output, expected[index], `example ${index}`);
  }
  rmSync(directory, { recursive: true });
});

test("relative links in the documents lead somewhere", () => {
  const documents = ["README.md", "ARCHITECTURE.md", ...readdirSync(join(root, "docs")).map((name) => `docs/${name}`)];
  for (const document of documents.filter((name) => name.endsWith(".md"))) {
    const text = readFileSync(join(root, document), "utf8");
    for (const [, target] of text.matchAll(/\]\((?!https?:)([^)#]+)/g)) {
      const path = join(root, document, "..", target as string);
      assert.not.throws(
        () => (path.endsWith("/") ? readdirSync(path) : readFileSync(path)),
        `${document} links to ${target}`,
      );
    }
  }
});

test.run();
