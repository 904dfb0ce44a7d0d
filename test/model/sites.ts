/**
 * Places in the source: every access that was rewritten has a number, by which a trace finds its
 * line again.
 */
import { existsSync, readFileSync } from "node:fs";
import { SourceMap } from "node:module";
import { fileURLToPath } from "node:url";
import type { Module } from "./modules.ts";

export interface Site {
  readonly url: string;
  readonly label: string;
  /** From 1, in the compiled text. */
  readonly line: number;
  readonly column: number;
  /** The line itself, compiled. */
  readonly text: string;
}

const sites: Site[] = [{ url: "", label: "", line: 0, column: 0, text: "" }];

/**
 * 1 for every site whose atomic operation threads or a set-up have carried out since
 * `forgetExecuted`.
 */
let executed = new Uint8Array(1 << 14);

export function addSite(module: Module, line: number, column: number): number {
  const text = linesOf(module)[line - 1]?.trim() ?? "";
  if (sites.length === executed.length) {
    const grown = new Uint8Array(executed.length * 2);
    grown.set(executed);
    executed = grown;
  }
  return sites.push({ url: module.url, label: module.label, line, column, text }) - 1;
}

export function siteOf(id: number): Site {
  return sites[id] as Site;
}

/** Notes that the atomic operation at the site was carried out. */
export function noteExecuted(id: number): void {
  executed[id] = 1;
}

export function forgetExecuted(): void {
  executed.fill(0);
}

/** The compiled lines of the operations that were carried out, as `package/module.js:line`. */
export function executedLines(): Set<string> {
  const keys = new Set<string>();
  for (let id = executed.indexOf(1); id >= 0; id = executed.indexOf(1, id + 1)) keys.add(lineKey(siteOf(id)));
  return keys;
}

export function lineKey({ label, line }: { readonly label: string; readonly line: number }): string {
  return `${label}:${line}`;
}

const lines = new WeakMap<Module, string[]>();

function linesOf(module: Module): string[] {
  let split = lines.get(module);
  if (split === undefined) {
    split = module.text.split("\n");
    lines.set(module, split);
  }
  return split;
}

const maps = new Map<string, { map: SourceMap; sources: Map<string, string[]> } | undefined>();

/** `run-queue.ts:112` and the line, from the source if the compiled file has a map. */
export function describeSite(id: number): { where: string; line: string } {
  const site = siteOf(id);
  if (site.url === "") return { where: "", line: "" };
  const found = original(site);
  if (found !== undefined) return found;
  return { where: `${site.label}:${site.line}`, line: site.text };
}

function original(site: Site): { where: string; line: string } | undefined {
  if (!maps.has(site.url)) {
    const path = `${fileURLToPath(site.url)}.map`;
    maps.set(
      site.url,
      existsSync(path) ? { map: new SourceMap(JSON.parse(readFileSync(path, "utf8"))), sources: new Map() } : undefined,
    );
  }
  const known = maps.get(site.url);
  if (known === undefined) return undefined;
  const entry = known.map.findEntry(site.line - 1, site.column);
  if (!("originalSource" in entry)) return undefined;
  const url = new URL(entry.originalSource, site.url);
  let source = known.sources.get(url.href);
  if (source === undefined) {
    source = existsSync(url) ? readFileSync(url, "utf8").split("\n") : [];
    known.sources.set(url.href, source);
  }
  const line = source[entry.originalLine]?.trim();
  if (line === undefined) return undefined;
  const label = site.label.replace(/[^/]*$/, url.pathname.slice(url.pathname.lastIndexOf("/") + 1));
  return { where: `${label}:${entry.originalLine + 1}`, line };
}
