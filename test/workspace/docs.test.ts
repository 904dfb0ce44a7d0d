import { readFileSync, readdirSync } from "node:fs";
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

test("docs/command.md is what the command says of itself", async () => {
  const { commandPage } = (await import(join(root, "scripts/command-page.mjs"))) as { commandPage: () => string };
  assert.is(readFileSync(join(root, "docs/command.md"), "utf8"), commandPage());
});

test("every code of a warning is in docs/reference.md", () => {
  const page = readFileSync(join(root, "docs/reference.md"), "utf8");
  const sources = (readdirSync(join(root, "packages"), { recursive: true }) as string[])
    .filter((file) => /^[a-z-]+\/src\/.*\.ts$/.test(file))
    .map((file) => readFileSync(join(root, "packages", file), "utf8"));
  const codes = new Set(sources.flatMap((text) => text.match(/(?<=")MILLRACE_[A-Z_]+(?=")/g) ?? []));
  assert.ok(codes.size > 5);
  for (const code of codes) assert.ok(page.includes(code), code);
});

test("every code in the sources is in a table, and every code in a table is used", () => {
  const sources = readdirSync(join(root, "packages"), { recursive: true })
    .map(String)
    .filter((file) => /^[a-z-]+\/src\/.*\.ts$/.test(file))
    .map((file) => readFileSync(join(root, "packages", file), "utf8"));
  const page = readFileSync(join(root, "docs/errors.md"), "utf8");
  const named = new Set(
    sources.flatMap((text) => [...text.matchAll(/"(ERR_[A-Z_]+)"/g)].map((match) => match[1] as string)),
  );
  named.delete("ERR_UNEXPECTED");
  // Of Node itself.
  named.delete("ERR_HTTP_REQUEST_TIMEOUT");
  named.delete("ERR_WORKER_OUT_OF_MEMORY");
  named.delete("ERR_UNKNOWN_FILE_EXTENSION");
  named.delete("ERR_UNSUPPORTED_DIR_IMPORT");
  named.delete("ERR_MODULE_NOT_FOUND");
  for (const code of named) assert.ok(page.includes(`### ${code}\n`), `${code} is documented`);
  for (const code of Object.keys(errors)) {
    // Beyond the table itself and the list of codes.
    const uses = sources.filter((text) => text.includes(`"${code}",`) || text.includes(`"${code}")`)).length;
    assert.ok(uses > 0, `${code} is used`);
  }
});

/** The anchor of a heading, as the repository and the site make it. */
function anchorsIn(text: string): Set<string> {
  const headings = text.replace(/^```[\s\S]*?^```/gm, "").match(/(?<=^#{1,6} ).+/gm) ?? [];
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .trim()
        .replaceAll(" ", "-"),
    ),
  );
}

test("relative links in the documents lead somewhere, to a heading too", () => {
  const inRoot = readdirSync(root);
  const inDocs = (readdirSync(join(root, "docs"), { recursive: true }) as string[])
    .filter((name) => !/^(?:api|node_modules)\b/.test(name))
    .map((name) => `docs/${name}`);
  const inPackages = readdirSync(join(root, "packages")).map((name) => `packages/${name}/README.md`);
  for (const document of [...inRoot, ...inDocs, ...inPackages].filter((name) => name.endsWith(".md"))) {
    const text = readFileSync(join(root, document), "utf8");
    for (const [, target = "", anchor] of text.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g)) {
      const path = target === "" ? join(root, document) : join(root, document, "..", target);
      const read = (): string => (path.endsWith("/") ? readdirSync(path).join() : readFileSync(path, "utf8"));
      assert.not.throws(read, `${document} links to ${target}`);
      if (anchor !== undefined) assert.ok(anchorsIn(read()).has(anchor), `${document} links to ${target}#${anchor}`);
    }
  }
});

test.run();
