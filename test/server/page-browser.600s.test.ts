// The live page in a real browser.
import { writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Millrace, open } from "millrace";
import { createServer, type RecordServer, type ServerOptions } from "@millrace/server";
import { temporaryDirectory, testIf } from "../support.ts";
import {
  closeBrowser,
  type Complaints,
  go,
  holds,
  inaccessible,
  isBrowserThere,
  SECTIONS,
  withBrowser,
} from "./browser.ts";

const handlers = new URL("../../../test/fixtures/page-handlers.mjs", import.meta.url);
const EVIL = "<b onclick=alert(1)>evil</b>";
const KEY = `<script>globalThis.isOwned = true</script>"'&amp;`;
/** By hand with 1000000. */
const LETTERS = Number(process.env.MILLRACE_TEST_LETTERS ?? 100_000);
const NONE: Complaints = { errors: [], strangers: [] };

const withPage = testIf(isBrowserThere);

function openMill(): Promise<Millrace> {
  return open({
    handlers,
    processors: 1,
    trace: 1024,
    journal: {
      directory: join(temporaryDirectory(), "data"),
      retain: "all",
      handlers: {
        settle: { redact: ["card.number"], failuresMax: 0 },
        shaky: { backoff: "constant", retryBaseMs: 1, attemptsMax: 3 },
      },
      schedules: { nightly: { handler: "settle", cron: "30 2 * * *", timeZone: "Europe/Berlin" } },
    },
  });
}

/** A runtime with records of every kind, and its server. */
async function withService(
  use: (mill: Millrace, server: RecordServer) => Promise<void>,
  options: ServerOptions = {},
): Promise<void> {
  const mill = await openMill();
  const server = await createServer(mill, { adminPort: 0, ...options });
  try {
    await Promise.all(Array.from({ length: 50 }, () => mill.publish.settle!({})));
    await mill.publish.settle!({ refused: true, card: { number: "4111" } }, { key: KEY });
    await mill.publish.shaky!({ failures: 9 }, { key: "acc-7" });
    await mill.publish[EVIL]!({});
    await mill.drain({ all: true });
    await use(mill, server);
  } finally {
    await server.close({ drainMs: 5000 });
    await mill.close();
  }
}

function gate(): { readonly opened: Promise<void>; lift(): void } {
  let lift = (): void => {};
  const opened = new Promise<void>((resolve) => (lift = resolve));
  return { opened, lift: () => lift() };
}

const stateOf = async (mill: Millrace, name: string): Promise<string | undefined> =>
  (await mill.handlers()).find(({ handler }) => handler === name)?.state;

const textOf = (page: Page, selector: string): Promise<string> => page.innerText(selector);

/** Moves the focus by the keyboard until `isThere` says so. */
async function tabTo(page: Page, isThere: string): Promise<void> {
  for (let press = 0; press < 100; press += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(isThere)) return;
  }
  throw new Error("the focus never came there");
}

for (const scheme of ["light", "dark"] as const) {
  withPage(`every section is accessible and complains of nothing, ${scheme}`, () =>
    withService(async (_mill, server) => {
      const complaints = await withBrowser(server.pageUrl!, { scheme }, async (page) => {
        await page.waitForSelector(".status.live");
        assert.not.match(page.url(), /token/, "nobody sees the token in the address");
        for (const section of SECTIONS) {
          await go(page, section);
          assert.equal(await inaccessible(page), [], section);
        }
        await go(page, "dead");
        await page.click("button:has-text('Drop')");
        await page.waitForSelector("dialog[open]");
        assert.equal(await inaccessible(page), [], "dialog");
        await page.keyboard.press("Escape");
        await page.click("button[aria-label^='show record']");
        await page.waitForSelector(".timeline .dead");
        assert.equal(await inaccessible(page), [], "record");
      });
      assert.equal(complaints, NONE);
    }),
  );
}

withPage("an address that can't be decoded shows a section all the same", () =>
  withService(async (_mill, server) => {
    const complaints = await withBrowser(server.pageUrl!, { expected: /404/ }, async (page) => {
      for (const [hash, section] of [
        ["records/key/%E0%A4", "records"],
        ["%", "overview"],
        ["dead/%", "dead"],
        ["nonsense/%", "overview"],
      ]) {
        await page.evaluate(`location.hash = ${JSON.stringify(hash)}`);
        await page.waitForSelector(`nav a[href="#${section}"][aria-current="page"]`);
      }
      await page.reload();
      await page.waitForSelector(".status.live");
    });
    assert.equal(complaints, NONE);
  }),
);

withPage("nothing is wider than a screen of 320 pixels", () =>
  withService(async (_mill, server) => {
    const complaints = await withBrowser(server.pageUrl!, { width: 320 }, async (page) => {
      await page.waitForSelector(".status.live");
      for (const section of SECTIONS) {
        await go(page, section);
        assert.is(await page.evaluate("document.documentElement.scrollWidth"), 320, section);
      }
      await go(page, "dead");
      await page.click("button[aria-label^='show record']");
      await page.waitForSelector(".timeline .dead");
      assert.is(await page.evaluate("document.documentElement.scrollWidth"), 320, "record");
    });
    assert.equal(complaints, NONE);
  }),
);

withPage("what comes out of records is text, and what is redacted isn't shown", () =>
  withService(async (mill, server) => {
    const complaints = await withBrowser(server.pageUrl!, {}, async (page) => {
      await go(page, "handlers");
      assert.ok((await textOf(page, "main")).includes(EVIL));
      await go(page, "dead");
      await page.waitForSelector(`tbody tr:has-text("refused")`);
      const list = await textOf(page, "tbody");
      assert.ok(list.includes(KEY), list);
      assert.match(list, /refused <script>globalThis\.isOwned/);
      assert.is(await page.locator("main script, main img, main b").count(), 0);
      await go(page, "records");
      await page.selectOption("select[name=what]", "key");
      await page.fill("input[name=value]", KEY);
      await page.keyboard.press("Enter");
      await page.waitForSelector(".timeline .dead");
      const record = await textOf(page, ".record");
      assert.match(record, /"number": "\[redacted\]"/);
      assert.ok(record.includes(KEY) && record.includes("<img src=x"));
      assert.not.match(record, /4111/);
      assert.is(await page.evaluate("globalThis.isOwned"), undefined);
      // Its address leads to the same record.
      await page.reload();
      await page.waitForSelector(".timeline .dead");
      const { sequence } = (await mill.journal.showByKey("acc-7"))!;
      // The story of one record never stands below another.
      const slow = gate();
      await page.route("**/timeline", async (route) => {
        await slow.opened;
        await route.continue();
      });
      await page.selectOption("select[name=what]", "sequence");
      await page.fill("input[name=value]", String(sequence));
      await page.keyboard.press("Enter");
      await page.waitForSelector(`.record[aria-label="record ${sequence}"] [role=status]:has-text('Reading')`);
      assert.not.ok((await textOf(page, ".timeline")).includes("refused"));
      slow.lift();
      await page.waitForSelector(`.record[aria-label="record ${sequence}"] .timeline .waits`);
      const kinds = await page.$$eval(".timeline li", (items) => items.map(({ className }) => className));
      assert.equal(kinds, ["published", "failed", "waits", "failed", "waits", "failed", "dead"]);
      await page.fill("input[name=value]", "99999999");
      await page.keyboard.press("Enter");
      await page.waitForSelector(".problem:has-text('99999999')");
    });
    assert.equal(
      complaints.errors.filter((text) => !text.includes("404")),
      [],
    );
  }),
);

withPage("the keyboard is enough to pause a handler and to redrive letters", () =>
  withService(async (mill, server) => {
    const complaints = await withBrowser(server.pageUrl!, {}, async (page) => {
      await page.waitForSelector(".status.live");
      await tabTo(page, `document.activeElement?.getAttribute("href") === "#handlers"`);
      await page.keyboard.press("Enter");
      await page.waitForSelector("h2:has-text('Handlers')");
      await holds(page, `document.activeElement?.tagName === "H2"`);
      await tabTo(page, `document.activeElement?.getAttribute("aria-label") === "pause settle"`);
      await page.keyboard.press("Space");
      await page.waitForSelector("button[aria-label='resume settle']");
      assert.is(await stateOf(mill, "settle"), "paused");
      await page.focus("button[aria-label='resume settle']");
      await page.keyboard.press("Enter");
      await page.waitForSelector("button[aria-label='pause settle']");
      assert.is(await stateOf(mill, "settle"), "open");
      await page.focus(`nav a[href="#dead"]`);
      await page.keyboard.press("Enter");
      await page.waitForSelector("[role=status]:has-text('2 letters match')");
      await tabTo(page, `document.activeElement?.getAttribute("name") === "key"`);
      await page.keyboard.type("acc-7");
      await page.keyboard.press("Enter");
      await page.waitForSelector("[role=status]:has-text('1 letter matches')");
      await tabTo(page, `document.activeElement?.textContent === "Redrive …"`);
      await page.keyboard.press("Enter");
      await page.waitForSelector("dialog[open]:has-text('1 letter gets another turn')");
      await tabTo(page, `document.activeElement?.textContent?.trim() === "Cancel"`);
      await page.keyboard.press("Enter");
      await page.waitForSelector("dialog", { state: "detached" });
      assert.is(await mill.dead.count(), 2, "nothing has happened");
      // A dialog that closes gives the focus back to where it was opened, a little later.
      await holds(page, `document.activeElement?.textContent === "Redrive …"`);
      await page.keyboard.press("Enter");
      await page.waitForSelector("dialog[open]:has-text('Redrive 1')");
      await tabTo(page, `document.activeElement?.textContent?.trim() === "Redrive 1"`);
      await page.keyboard.press("Enter");
      await page.waitForSelector("[role=status]:has-text('1 letter redriven')");
      await mill.drain({ all: true });
      // It has died again, and its story says so.
      const { sequence } = (await mill.journal.showByKey("acc-7"))!;
      const { events } = (await mill.journal.timeline(sequence))!;
      assert.is(events.filter(({ kind }) => kind === "redriven").length, 1);
    });
    assert.equal(complaints, NONE);
  }),
);

withPage("a wrong token is told, a right one works, and a weak one changes nothing", async () => {
  const file = join(temporaryDirectory(), "tokens");
  const hash = (token: string): string => createHash("sha256").update(token).digest("hex");
  writeFileSync(file, `sha256:${hash("reader")} read\nsha256:${hash("chief")} admin\n`);
  await withService(
    async (mill, server) => {
      const give = async (page: Page, token: string): Promise<void> => {
        await page.click(".token > button");
        await page.fill("input[name=token]", token);
        await page.keyboard.press("Enter");
        await page.waitForSelector("dialog", { state: "detached" });
      };
      const complaints = await withBrowser(server.pageUrl!, { expected: /401|403/ }, async (page) => {
        await page.waitForSelector(".status.live");
        await go(page, "dead");
        await page.waitForSelector(".problem:has-text('needs a token')");
        await give(page, "guessed");
        await go(page, "records");
        await go(page, "dead");
        await page.waitForSelector(".problem:has-text('needs a token')");
        await give(page, "reader");
        await go(page, "records");
        await go(page, "dead");
        await page.waitForSelector("[role=status]:has-text('2 letters match')");
        await page.click("button:has-text('Drop')");
        await page.click("dialog button:has-text('Drop 2')");
        await page.waitForSelector(
          "dialog .problem:has-text('isn’t enough'), dialog .problem:has-text(\"isn't enough\")",
        );
        assert.is(await mill.dead.count(), 2);
        await page.keyboard.press("Escape");
        await give(page, "chief");
        await page.click("button:has-text('Drop')");
        await page.click("dialog button:has-text('Drop 2')");
        await page.waitForSelector("[role=status]:has-text('2 letters dropped')");
        assert.is(await mill.dead.count(), 0);
      });
      assert.equal(complaints, NONE);
    },
    { tokenFile: file },
  );
});

withPage("the page goes on when the server was gone, and pauses while nobody looks", () =>
  withService(async (mill, first) => {
    const { adminPort } = first;
    const expected = /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET/;
    const complaints = await withBrowser(first.pageUrl!, { expected }, async (page) => {
      await page.waitForSelector(".status.live");
      const show = (isHidden: boolean): Promise<void> =>
        page.evaluate(`
          Object.defineProperty(document, "hidden", { value: ${isHidden}, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
          undefined;`);
      const ended = page.waitForEvent("requestfailed", (request) => request.url().endsWith("/api/live"));
      await show(true);
      await page.waitForSelector(".status.paused");
      await ended;
      await show(false);
      await page.waitForSelector(".status.live");
      await first.close({ drainMs: 1000 });
      await page.waitForSelector(".status.gone");
      const second = await createServer(mill, { adminPort: adminPort! });
      await page.waitForSelector(".status.live");
      await second.close({ drainMs: 1000 });
    });
    assert.equal(complaints, NONE);
  }),
);

withPage("a trace can be downloaded", () =>
  withService(async (_mill, server) => {
    const complaints = await withBrowser(server.pageUrl!, {}, async (page) => {
      await page.waitForSelector(".status.live");
      await go(page, "machines");
      const [download] = await Promise.all([page.waitForEvent("download"), page.click("button:has-text('Download')")]);
      assert.is(download.suggestedFilename(), "trace.json");
    });
    assert.equal(complaints, NONE);
  }),
);

withPage("a hundred thousand dead letters are counted, paged through, filtered and dropped", () =>
  withService(async (mill, server) => {
    const records = Array.from({ length: 1000 }, (_, n) => ({
      handler: "settle" as const,
      payload: { refused: true, n },
      key: `acc-${n}`,
    }));
    for (let from = 0; from < LETTERS; from += records.length) await mill.publishMany(records);
    await mill.drain({ all: true });
    const known = LETTERS + 2;
    assert.is(await mill.dead.count(), known);
    const complaints = await withBrowser(server.pageUrl!, {}, async (page) => {
      await page.waitForSelector(".status.live");
      const begun = performance.now();
      await go(page, "dead");
      await page.waitForSelector(`[role=status]:has-text('${known.toLocaleString("en-US")} letters match')`);
      await page.waitForSelector("tbody tr:nth-child(50)");
      console.log(`the first page of ${known} letters after ${Math.round(performance.now() - begun)} ms`);
      const first = await textOf(page, "tbody tr:first-child th");
      await page.click("button:has-text('Next')");
      await holds(page, `document.querySelector("tbody th")?.textContent.trim() !== "${first.trim()}"`);
      await page.waitForSelector(".pages:has-text('page 2')");
      await page.fill("input[name=key]", "acc-7");
      await page.click("button:has-text('Filter')");
      const some = LETTERS / 1000 + 1;
      await page.waitForSelector(`[role=status]:has-text('${some.toLocaleString("en-US")} letters match')`);
      assert.is(await page.locator("tbody tr").count(), Math.min(50, some));
      await page.fill("input[name=key]", "");
      await page.selectOption("select[name=handler]", "settle");
      await page.click("button:has-text('Filter')");
      const all = (LETTERS + 1).toLocaleString("en-US");
      await page.waitForSelector(`[role=status]:has-text('${all} letters match')`);
      await page.click("button:has-text('Drop')");
      await page.click(`dialog button:has-text('Drop ${all}')`);
      await page.waitForSelector(`[role=status]:has-text('${all} letters dropped')`);
    });
    assert.equal(complaints, NONE);
    assert.is(await mill.dead.count(), 1);
  }),
);

test.after(closeBrowser);
test.run();
