// Builds the documentation as a site (`npm run docs`), or serves it while it is edited
// (`npm run docs:dev`). TypeDoc first writes the reference from the packages' declarations, which
// must be compiled: `docs/api/`, which git ignores.
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const docs = join(root, "docs");
const api = join(docs, "api");

/** The packages that users import. The others are parts of these. */
const PACKAGES = ["millrace", "server", "pool", "journal", "scheduler", "channels", "context", "atomics-sync"];

/** Resolves with what TypeDoc has to complain of. */
export async function writeReference() {
  rmSync(api, { recursive: true, force: true });
  const typedoc = await import(pathToFileURL(join(docs, "node_modules/typedoc/dist/index.js")).href);
  const complaints = [];
  const app = await typedoc.Application.bootstrapWithPlugins({
    plugin: [join(docs, "node_modules/typedoc-plugin-markdown/dist/index.js")],
    entryPoints: PACKAGES.map((name) => join(root, "packages", name, "dist/index.d.ts")),
    tsconfig: join(docs, "tsconfig.json"),
    excludeInternal: true,
    excludePrivate: true,
    disableSources: true,
    readme: "none",
    router: "member",
    hidePageHeader: true,
    hideBreadcrumbs: true,
    useCodeBlocks: true,
    parametersFormat: "table",
    interfacePropertiesFormat: "table",
    tableColumnSettings: { hideInherited: true, hideModifiers: true, hideOverrides: true },
    entryFileName: "index",
    // Types of `/kernel` entries, which users don't name.
    validation: { notExported: false, invalidLink: true, notDocumented: false },
    // The packages are compiled, by another version of the compiler.
    skipErrorChecking: true,
    logLevel: "Warn",
  });
  app.logger.log = (message, level) => {
    if (level >= typedoc.LogLevel.Warn) complaints.push(message);
  };
  const project = await app.convert();
  if (project === undefined) throw new Error(`TypeDoc failed:\n${complaints.join("\n")}`);
  // By the names that users import, not by the files.
  for (const module of project.children) {
    const [folder] = module.name.split("/");
    module.name = folder === "millrace" ? folder : `@millrace/${folder}`;
  }
  await app.outputs.writeOutput({ name: "markdown", path: api }, project);
  return complaints;
}

function vitepress(...args) {
  const bin = join(docs, "node_modules/vitepress/bin/vitepress.js");
  const { status } = spawnSync(process.execPath, [bin, ...args], { cwd: docs, stdio: "inherit" });
  return status ?? 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const complaint of await writeReference()) console.log(complaint);
  process.exitCode = vitepress(process.argv[2] === "dev" ? "dev" : "build", docs);
}
