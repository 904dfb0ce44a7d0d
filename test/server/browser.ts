// A real browser with the live page in it, and what it complains of.
import { existsSync } from "node:fs";
import axe, { type AxeResults } from "axe-core";
import { type Browser, chromium, type Page } from "playwright-core";

const CHROMIUM = "/usr/bin/chromium";
const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** The machine may have a lot to do. */
const PATIENCE_MS = 60_000;

export const isBrowserThere: boolean = existsSync(CHROMIUM);
if (!isBrowserThere) console.log(`skipped: there is no ${CHROMIUM} (Debian's package chromium)`);

export const SECTIONS = ["overview", "machines", "journal", "handlers", "records", "dead", "schedules"] as const;

/** Faults of the page. */
export interface Complaints {
  readonly errors: string[];
  /** Requests that went elsewhere. */
  readonly strangers: string[];
}

let browser: Promise<Browser> | undefined;

export async function closeBrowser(): Promise<void> {
  await (await browser)?.close();
}

/** A page at `url`, closed afterwards. Errors that `expected` matches are no complaints. */
export async function withBrowser(
  url: string,
  options: { readonly width?: number; readonly scheme?: "light" | "dark"; readonly expected?: RegExp },
  use: (page: Page) => Promise<void>,
): Promise<Complaints> {
  browser ??= chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
  const { width = 1200, scheme = "light", expected } = options;
  const context = await (await browser).newContext({ viewport: { width, height: 800 }, colorScheme: scheme });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints: Complaints = { errors: [], strangers: [] };
  const complain = (text: string): void => {
    if (expected?.test(text) !== true) complaints.errors.push(text);
  };
  page.on("pageerror", (error) => complain(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complain(message.text());
  });
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(url).origin) complaints.strangers.push(request.url());
  });
  try {
    await page.goto(url);
    await use(page);
  } finally {
    await context.close();
  }
  return complaints;
}

/**
 * Waits until an expression holds in the page. Playwright's own way evaluates a text in it, which
 * the page's policy forbids.
 */
export async function holds(page: Page, expression: string): Promise<void> {
  const endsAt = performance.now() + PATIENCE_MS;
  while ((await page.evaluate(expression)) !== true) {
    if (performance.now() > endsAt) throw new Error(`${expression}: not within ${PATIENCE_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Goes to a section by its link, and waits until it is there. */
export async function go(page: Page, section: (typeof SECTIONS)[number]): Promise<void> {
  await page.click(`nav[aria-label="Sections"] a[href="#${section}"]`);
  await page.waitForSelector(`nav a[href="#${section}"][aria-current="page"]`);
  await page.waitForSelector("main > :nth-child(2)", { state: "attached" });
  // Wait for the requests of the section that is opened.
  await page.waitForLoadState("domcontentloaded");
  await holds(page, "!/Looking …|Counting …|Waiting for the first/.test(document.body.innerText)");
}

/** Faults that axe-core finds, each with the elements. */
export async function inaccessible(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = (await page.evaluate(`axe.run({ resultTypes: ["violations"] })`)) as AxeResults;
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(" ")).join(", ")}`);
}
