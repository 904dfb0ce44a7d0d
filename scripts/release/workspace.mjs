// The workspace as the release scripts know it: its packages, and the versions of their
// dependencies.
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";

export const root = fileURLToPath(new URL("../..", import.meta.url));

export const readText = (path) => readFileSync(root + path, "utf8");
export const readJson = (path) => JSON.parse(readText(path));

/** The folders below packages/, sorted. */
export const packageNames = readdirSync(`${root}packages`).toSorted();

const { catalog } = parse(readText("pnpm-workspace.yaml"));
const versions = new Map(
  packageNames.map((name) => {
    const { name: npmName, version } = readJson(`packages/${name}/package.json`);
    return [npmName, version];
  }),
);

/** The version that `workspace:` and `catalog:` stand for. */
export function realVersion(npmName, given) {
  const version = given === "workspace:*" ? versions.get(npmName) : given === "catalog:" ? catalog[npmName] : given;
  if (version === undefined) throw new Error(`${npmName}: nothing says what "${given}" is`);
  return version;
}
