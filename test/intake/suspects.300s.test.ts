// Records that a killed process had in hand, in the next one: on real files, with a real SIGKILL.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { until } from "../support.ts";
import { millsIn, newPlace } from "../with-mill.ts";

interface Handlers {
  note(record: object): unknown;
  waits(record: object): unknown;
  hangs(record: object): unknown;
}

const handlers = new URL("../../../test/fixtures/trial-handlers.mjs", import.meta.url);
const inPlace = millsIn<Handlers>({ handlers });
/** More than two groups. */
const COUNT = 80;

const linesOf = (file: string): string[] => (existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n") : []);

/** A process that has everything in hand when it kills itself. */
function killedInHand(directory: string, file: string, go: string): void {
  const program = `
    import { open } from ${JSON.stringify(import.meta.resolve("millrace"))};
    const mill = await open({
      handlers: ${JSON.stringify(handlers.href)},
      processors: 2,
      journal: { directory: ${JSON.stringify(directory)} },
    });
    const record = { file: ${JSON.stringify(file)}, until: ${JSON.stringify(go)} };
    await mill.publish.hangs(record);
    for (let n = 0; n < ${COUNT}; n += 1) await mill.publish.waits({ ...record, text: String(n) });
    while (mill.stats().intake.running <= ${COUNT}) await new Promise((resolve) => setTimeout(resolve, 20));
    process.kill(process.pid, "SIGKILL");`;
  const { signal, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", program], {
    encoding: "utf8",
    timeout: 100_000,
  });
  assert.is(signal, "SIGKILL", stderr);
}

test("a record that hangs holds none that was in hand beside it, nor a new one", async () => {
  const place = newPlace();
  const go = `${place.file}.go`;
  killedInHand(place.directory, place.file, go);
  assert.equal(linesOf(place.file), ["hangs"]);
  writeFileSync(go, "");
  await inPlace(place, {}, async (mill, file) => {
    await (
      await mill.publish.note({ file, text: "new" })
    ).done;
    await until(() => linesOf(file).length === COUNT + 3, "all of them are handled", 60_000);
    const handled = linesOf(file).filter((line) => line !== "hangs");
    assert.equal(handled.toSorted(), [...Array.from({ length: COUNT }, (_, n) => `${n}`), "new"].toSorted());
    // The one that hangs is in hand, and a suspect still.
    const { suspects, deadKept, running } = mill.stats().intake as NonNullable<ReturnType<typeof mill.stats>["intake"]>;
    assert.equal([suspects, deadKept, running], [1, 0, 1]);
  });
});

test.run();
