// What the journal once did wrong stays right.
import { test } from "uvu";
import { loadEngine } from "./engine.ts";
import { REGRESSIONS } from "./regressions.ts";

for (const [name, check] of Object.entries(REGRESSIONS)) test(name, async () => check(await loadEngine()));

test.run();
