#!/usr/bin/env node
// The command itself is @millrace/cli. It stands below this package, so that nothing goes in a
// circle.
await import("@millrace/cli/bin");
