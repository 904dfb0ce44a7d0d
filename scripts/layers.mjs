// The house, from the ground up: a package imports only from rows above its own in this list.
// test/workspace/layers.test.ts holds package.json, tsconfig references, imports and ARCHITECTURE.md to it.
export const layers = [
  ["base"],
  ["shared-memory", "codec"],
  ["atomics-sync"],
  ["channels", "context", "metrics"],
  ["scheduler", "journal"],
  ["pool"],
  ["intake"],
  ["millrace"],
  ["cli"],
];
