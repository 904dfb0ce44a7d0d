// The house, from the ground up: a package imports only from rows above its own in this list.
// test/workspace/layers.test.ts holds package.json, tsconfig references, imports and
// ARCHITECTURE.md to it.
export const layers = [
  ["base", "thread-pool"],
  ["shared-memory", "codec"],
  ["atomics-sync"],
  ["channels", "context", "metrics"],
  ["scheduler", "journal"],
  ["pool", "piscina", "tinypool"],
  ["intake"],
  ["runtime"],
  ["server"],
  ["cli"],
  ["millrace"],
];

// The folders of a package, from the ground up: a folder imports only from itself and from those
// before it. `.` is the package's root. The table of errors lies below all of them.
// test/workspace/tidy.test.ts holds the imports to it.
export const folders = {
  "atomics-sync": ["threads", "objects", "locks", "."],
  cli: ["terminal", "completion", "ingest", "journal", "dlq", "replay", "load", "serve", "trace", "doctor", "top", "."],
  intake: [
    "format",
    "spans",
    "states",
    "snapshot",
    "delivery",
    "handler",
    "letters",
    "replay",
    "shadow",
    "control",
    "publisher",
    ".",
  ],
  runtime: ["health", "metrics", "."],
  journal: ["storage", "files", "memory", "read", "repair", "keeper", "writer", "opener", "."],
  scheduler: ["shared", "calls", "handler", "machine", "trace", "supervisor", "."],
  server: ["access", "records", "http", "socket", "admin", "page", "."],
};
