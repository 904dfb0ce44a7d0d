/**
 * The page's files, as a browser gets them: those in `packages/server/page`, and the libraries that
 * they use, out of their packages. Nothing is bundled or rewritten.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { messageOf } from "@millrace/base";
import { serverError } from "../errors.ts";

export interface PageFile {
  readonly type: string;
  readonly bytes: Buffer;
}

const own = (name: string): string | URL => new URL(`../../page/${name}`, import.meta.url);
const { resolve } = createRequire(import.meta.url);

const SCRIPT = "text/javascript; charset=utf-8";
const STYLE = "text/css; charset=utf-8";

/** By path; the functions say where each lies. */
const FILES: Readonly<Record<string, readonly [type: string, place: () => string | URL]>> = {
  "/": ["text/html; charset=utf-8", () => own("index.html")],
  "/page/page.css": [STYLE, () => own("page.css")],
  "/page/icon.svg": ["image/svg+xml", () => own("icon.svg")],
  ...Object.fromEntries(
    [
      "api",
      "charts",
      "dead",
      "dialogs",
      "format",
      "handlers",
      "journal",
      "live",
      "machines",
      "main",
      "overview",
      "parts",
      "records",
      "schedules",
    ].map((name) => [`/page/${name}.js`, [SCRIPT, () => own(`${name}.js`)] as const]),
  ),
  "/page/library/preact.js": [SCRIPT, () => resolve("preact")],
  "/page/library/hooks.js": [SCRIPT, () => resolve("preact/hooks")],
  "/page/library/htm.js": [SCRIPT, () => resolve("htm").replace(/htm\.js$/, "htm.module.js")],
  "/page/library/uplot.js": [SCRIPT, () => resolve("uplot/dist/uPlot.iife.min.js")],
  "/page/library/uplot.css": [STYLE, () => resolve("uplot/dist/uPlot.min.css")],
};

/** All files, by path. Throws `ERR_PAGE_FILES` when one can't be read. */
export function readPageFiles(): ReadonlyMap<string, PageFile> {
  return new Map(Object.entries(FILES).map(([path, [type, place]]) => [path, { type, bytes: read(path, place) }]));
}

function read(path: string, place: () => string | URL): Buffer {
  try {
    return readFileSync(place());
  } catch (cause) {
    throw serverError("ERR_PAGE_FILES", `${path} of the page can't be read: ${messageOf(cause)}`, { cause });
  }
}

const IMPORT_MAP = /<script type="importmap">([^<]*)<\/script>/;

/**
 * The page's policy for the browser: load from this server, and do nothing else. The one script
 * within the document is the map of imports, known by its hash. No text can become markup: nothing
 * may hand one to the parser of HTML.
 */
export function pageHeaders(document: Buffer): Readonly<Record<string, string>> {
  const [, map = ""] = IMPORT_MAP.exec(document.toString("utf8")) ?? [];
  const hash = createHash("sha256").update(map).digest("base64");
  const policy = [
    "default-src 'none'",
    `script-src 'self' 'sha256-${hash}'`,
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ];
  return {
    "content-security-policy": policy.join("; "),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
  };
}
