/**
 * Sends a moment to each open page every second, as server-sent events. Nothing is read while
 * nobody looks. The last minutes stay a while after that, so that a page which was hidden has its
 * charts when it is looked at again.
 */
import type { ServerResponse } from "node:http";
import { clearInterval, performance, setInterval } from "@millrace/base";
import type { HandlerReport } from "@millrace/intake";
import type { Millrace, Reading } from "@millrace/runtime";
import { serverError } from "../errors.ts";
import { COLUMNS, LATENCY_READINGS, type Moment, momentOf, readingOf, rowOf } from "./moment.ts";

const EVERY_MS = 1000;
/** Ten minutes. */
const ROWS_MAX = 600;
const KEEP_MS = 600_000;
/** A page that has read nothing for this long is closed: it may be gone, and holds a place. */
const UNREAD_MS = 30_000;
/** Each takes a connection and some kilobytes a second. */
const PAGES_MAX = 32;

interface Looker {
  /** When the page has last had room for news. */
  since: number;
  /** Whether its token still counts. */
  readonly mayLook: () => boolean;
}

export class Feed {
  readonly #mill: Millrace;
  readonly #pages = new Map<ServerResponse, Looker>();
  #readings: Reading[] = [];
  #handlers: readonly HandlerReport[] = [];
  #rows: (number | null)[][] = [];
  #last: Moment | undefined;
  #timer: NodeJS.Timeout | undefined;
  #lastLookedAt = 0;
  #isReading = false;
  readonly #isTraced: boolean;

  constructor(mill: Millrace) {
    this.#mill = mill;
    this.#isTraced = mill.trace() !== undefined;
  }

  /** Pages that are open and visible. */
  get pages(): number {
    return this.#pages.size;
  }

  /** Whether the runtime is read each second. */
  get isReading(): boolean {
    return this.#timer !== undefined;
  }

  /** Sends to a page until it is gone. Throws `ERR_PAGE_BUSY`. */
  add(page: ServerResponse, headers: Readonly<Record<string, string>>, mayLook: () => boolean): void {
    if (this.#pages.size >= PAGES_MAX) {
      throw serverError("ERR_PAGE_BUSY", `${PAGES_MAX} pages are open, and no more are served`);
    }
    page.writeHead(200, {
      ...headers,
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-store",
    });
    this.#pages.set(page, { since: performance.now(), mayLook });
    page.once("close", () => this.#pages.delete(page));
    page.write(eventOf("history", { columns: COLUMNS, rows: this.#rows }));
    if (this.#last !== undefined) page.write(eventOf("now", { moment: this.#last, row: null }));
    this.#begin();
  }

  /** Ends the pages' streams. */
  close(): void {
    this.#stop();
    for (const page of this.#pages.keys()) page.end();
  }

  #begin(): void {
    this.#lastLookedAt = performance.now();
    if (this.#timer !== undefined) return;
    this.#timer = setInterval(() => void this.#read(), EVERY_MS).unref();
    void this.#read();
  }

  #stop(): void {
    if (this.#timer !== undefined) clearInterval(this.#timer);
    this.#timer = undefined;
    this.#readings = [];
    this.#rows = [];
    this.#last = undefined;
  }

  async #read(): Promise<void> {
    if (this.#pages.size > 0) this.#lastLookedAt = performance.now();
    else if (performance.now() - this.#lastLookedAt > KEEP_MS) this.#stop();
    if (this.#timer === undefined || this.#isReading) return;
    this.#isReading = true;
    try {
      const now = readingOf(this.#mill);
      const moment = await momentOf(this.#mill, now, {
        readings: this.#readings,
        handlers: this.#handlers,
        isTraced: this.#isTraced,
      });
      this.#handlers = moment.handlers;
      this.#readings = [...this.#readings, now].slice(-LATENCY_READINGS);
      this.#tell(moment);
    } catch {
      // Delivery has ended: the page sees no news, and health says why.
      this.#tellOver();
    } finally {
      this.#isReading = false;
    }
  }

  #tell(moment: Moment): void {
    const row = rowOf(moment);
    // The first reading has no rates.
    if (this.#last !== undefined) this.#rows = [...this.#rows, row].slice(-ROWS_MAX);
    const event = eventOf("now", { moment, row: this.#last === undefined ? null : row });
    this.#last = moment;
    // A page that doesn't keep up misses some.
    this.#send(event);
  }

  #send(event: string): void {
    const now = performance.now();
    for (const [page, looker] of this.#pages) {
      if (!looker.mayLook()) page.end();
      else if (!page.writableNeedDrain) {
        looker.since = now;
        page.write(event);
      } else if (now - looker.since > UNREAD_MS) page.destroy();
    }
  }

  #tellOver(): void {
    this.#send(eventOf("over", { reasons: this.#mill.health().reasons }));
  }
}

function eventOf(name: string, data: object): string {
  return `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}
