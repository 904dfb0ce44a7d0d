// `npm run release:dry`: packs all packages, checks them, writes a bill of materials, and prints
// what a release would publish. Publishes nothing. Exits 1 when something is wrong.
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { check } from "./check.mjs";
import { pack } from "./pack.mjs";
import { readJson, root } from "./workspace.mjs";
import { layers } from "../layers.mjs";

const built = join(root, ".build/pack");

/** In the order of publishing: a package comes after those that it depends on. */
function inOrder(packages) {
  const order = layers.flat();
  const place = ({ name }) => order.indexOf(name.replace("@millrace/", ""));
  return packages.toSorted((left, right) => place(left) - place(right));
}

/** A CycloneDX document of an installation of everything, from npm's own lockfile. */
function billOfMaterials(packages) {
  const project = join(built, "sbom");
  rmSync(project, { recursive: true, force: true });
  mkdirSync(project, { recursive: true });
  const dependencies = Object.fromEntries(packages.map(({ name, path }) => [name, `file:${path}`]));
  const { version } = readJson("packages/millrace/package.json");
  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "millrace-release", version, dependencies }));
  const npm = (...args) => execFileSync("npm", args, { cwd: project, encoding: "utf8", maxBuffer: 2 ** 26 });
  npm("install", "--package-lock-only", "--ignore-scripts", "--no-audit", "--no-fund");
  const text = npm("sbom", "--package-lock-only", "--sbom-format", "cyclonedx", "--sbom-type", "library");
  const file = join(built, "sbom.cdx.json");
  writeFileSync(file, text);
  return { file, count: JSON.parse(text).components.length };
}

const kilobytes = (bytes) => `${(bytes / 1000).toFixed(0)} kB`.padStart(8);

const packages = inOrder(pack(built));
const complaints = await check(packages);
for (const { name, version, size, unpackedSize, entryCount } of packages) {
  console.log(
    `${`${name}@${version}`.padEnd(32)}${kilobytes(size)} packed${kilobytes(unpackedSize)} on disk  ${entryCount} files`,
  );
}
const sum = (key) => packages.reduce((total, packed) => total + packed[key], 0);
console.log(`${"together".padEnd(32)}${kilobytes(sum("size"))} packed${kilobytes(sum("unpackedSize"))} on disk`);
const { file, count } = billOfMaterials(packages);
console.log(`bill of materials: ${relative(root, file)}, ${count} components`);
for (const complaint of complaints) console.log(`WRONG  ${complaint}`);
if (complaints.length > 0) process.exitCode = 1;
else {
  console.log("publint and are-the-types-wrong have nothing to say. A release would run, in this order:");
  for (const { path } of packages) console.log(`  npm publish ${relative(root, path)} --provenance --access public`);
}
