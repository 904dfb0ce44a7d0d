/** The documentation as a site: it builds, is complete, and asks no other server for anything. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as millrace from "millrace";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const site = join(root, ".build/docs");

const pages = (readdirSync(join(root, "docs"), { recursive: true }) as string[])
  .filter((name) => name.endsWith(".md") && !/^(?:api|node_modules)\b/.test(name))
  .map((name) => name.replace(/\.md$/, ".html").replace(/README\.html$/, "index.html"));
const textOf = (name: string): string => readFileSync(join(site, name), "utf8");

test("the site builds: no dead link, and TypeDoc has no complaint", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["scripts/docs.mjs", "build"], {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1" },
  });
  assert.is(status, 0, stdout + stderr);
  assert.not.match(stdout, /^\[(?:warning|error)\]/m);
});

test("every page is there, and its neighbours lead to it", () => {
  assert.ok(pages.length > 60);
  const home = textOf("index.html");
  for (const page of pages.filter((name) => name !== "index.html")) {
    assert.ok(existsSync(join(site, page)), page);
    assert.ok(home.includes(`href="/${page.replace(/(?:index)?\.html$/, "")}"`), `${page} is in the sidebar`);
  }
});

test("everything that millrace exports has a page in the reference", () => {
  const names = new Set(
    (readdirSync(join(site, "api/millrace"), { recursive: true }) as string[]).map((name) =>
      name.replace(/^.*\/|\.html$/g, ""),
    ),
  );
  for (const name of Object.keys(millrace)) assert.ok(names.has(name) || name === "receive", name);
  // Defaults and units stand in the docstrings.
  assert.match(textOf("api/millrace/interfaces/MillraceOptions.html"), /Default 1 GiB/);
});

test("reading the site asks no other server for anything", () => {
  const files = (readdirSync(site, { recursive: true }) as string[]).filter((name) => /\.(?:html|css)$/.test(name));
  for (const name of files) {
    const text = textOf(name);
    const asked = text.match(
      /<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="(?:https?:)?\/\/|url\(["']?(?:https?:)?\/\/|@import/,
    );
    assert.is(asked, null, `${name}: ${asked?.[0]}`);
  }
});

test.run();
