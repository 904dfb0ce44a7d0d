// `npm run release:version -- 0.2.0`: sets the version of every package, and the heading of the
// changelog. All packages have one version and one changelog: they are released together, and each
// names the exact version of the others.
import { writeFileSync } from "node:fs";
import { packageNames, readText, root } from "./workspace.mjs";

const [version, day = new Date().toISOString().slice(0, 10)] = process.argv.slice(2);
if (!/^\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(version ?? "")) {
  console.error("a version such as 0.2.0 is needed");
  process.exit(2);
}
for (const name of packageNames) {
  const path = `packages/${name}/package.json`;
  writeFileSync(root + path, readText(path).replace(/^ {2}"version": ".*"/m, `  "version": "${version}"`));
}
const changelog = readText("CHANGELOG.md");
const heading = /^## .*, not yet released$/m;
if (!heading.test(changelog)) throw new Error("CHANGELOG.md has no part that is not yet released");
writeFileSync(`${root}CHANGELOG.md`, changelog.replace(heading, `## ${version}, ${day}`));
console.log(`${packageNames.length} packages are ${version}; commit, tag v${version}, push the tag`);
