// The package.json that is published, made from the one in the workspace.
import { realVersion } from "./workspace.mjs";

/** Entries for this repository alone: tests reach into a package, nobody else does. */
const isPrivate = (subpath) => subpath.startsWith("./internal/");

/**
 * `import` and `require` lead to the same modules: `NAME.cjs` loads the ES module through Node's
 * own loader, so that a process has one copy. (docs/adr/0028-packages.md)
 */
function publishedEntry(entry) {
  if (typeof entry === "string") return entry;
  const { types, default: module } = entry;
  return {
    import: { types, default: module },
    // For bundlers, which can't look into `NAME.cjs`.
    module,
    require: { types: types.replace(/\.ts$/, ".cts"), default: module.replace(/\.js$/, ".cjs") },
  };
}

/** Subpaths for TypeScript's old resolution, which doesn't read `exports`. */
function typesOfSubpaths(exports) {
  const subpaths = Object.entries(exports).filter(([subpath, entry]) => subpath !== "." && entry.import !== undefined);
  if (subpaths.length === 0) return {};
  return {
    typesVersions: {
      "*": Object.fromEntries(subpaths.map(([subpath, entry]) => [subpath.slice(2), [entry.import.types]])),
    },
  };
}

function realVersions(dependencies) {
  return Object.fromEntries(Object.entries(dependencies).map(([name, given]) => [name, realVersion(name, given)]));
}

/** A CommonJS package has one copy of each module as it is; its own wrapper serves `import`. */
function commonJsEntry(entry) {
  if (typeof entry === "string") return entry;
  const { "@millrace/source": _, ...published } = entry;
  return published;
}

export function publishedManifest({ exports: all, dependencies, ...manifest }) {
  const isCommonJs = manifest.type === "commonjs";
  const exports = Object.fromEntries(
    Object.entries(all)
      .filter(([subpath]) => !isPrivate(subpath))
      .map(([subpath, entry]) => [subpath, isCommonJs ? commonJsEntry(entry) : publishedEntry(entry)]),
  );
  const { require = exports["."] } = exports["."];
  return {
    ...manifest,
    main: require.default,
    types: isCommonJs ? require.types : exports["."].import.types,
    exports,
    ...typesOfSubpaths(exports),
    ...(dependencies === undefined ? {} : { dependencies: realVersions(dependencies) }),
  };
}
