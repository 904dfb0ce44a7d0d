// Finds faults of packed packages: publint and are-the-types-wrong, sizes, and versions that don't
// agree. Returns complaints, a line each.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { tooHeavy } from "./sizes.mjs";
import { readJson, readText, root } from "./workspace.mjs";

const execute = promisify(execFile);
const ATTW = join(root, "node_modules/@arethetypeswrong/cli/dist/index.js");

async function publintComplaints({ name, directory }) {
  const { messages, pkg } = await publint({ pkgDir: directory, pack: false, strict: true });
  return messages.map((message) => `${name}: publint: ${formatMessage(message, pkg)}`);
}

/** `./bin` is a command: nobody imports its types. */
async function typeComplaints({ name, path }) {
  const flags = ["--format", "json", "--exclude-entrypoints", "bin"];
  try {
    await execute(process.execPath, [ATTW, path, ...flags], { maxBuffer: 2 ** 26 });
    return [];
  } catch (failed) {
    if (typeof failed.stdout !== "string" || failed.stdout === "") throw failed;
    const { problems } = JSON.parse(failed.stdout);
    return Object.keys(problems).map((kind) => `${name}: are-the-types-wrong: ${kind}`);
  }
}

function versionComplaints(packages) {
  const { version } = readJson("packages/millrace/package.json");
  const others = packages.filter((packed) => packed.version !== version);
  const complaints = others.map((packed) => `${packed.name} is ${packed.version}, millrace is ${version}`);
  if (!readText("CHANGELOG.md").includes(`\n## ${version}`)) complaints.push(`CHANGELOG.md has no part for ${version}`);
  return complaints;
}

export async function check(packages) {
  const complaints = [...versionComplaints(packages), ...tooHeavy(packages)];
  for (const packed of packages) {
    complaints.push(...(await publintComplaints(packed)), ...(await typeComplaints(packed)));
  }
  return complaints;
}
