// Mended faults of the journal stay mended.
import { test } from "uvu";
import { loadEngine } from "./engine.ts";
import { REGRESSIONS } from "./regressions.ts";

for (const [name, check] of Object.entries(REGRESSIONS)) test(name, async () => check(await loadEngine()));

test.run();
