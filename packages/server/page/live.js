/**
 * The stream of figures: open while the page is visible, and opened again when the server was gone.
 *
 * It is read with fetch, since an EventSource can't send a token.
 */
import { fetchFrom, onToken, Refused } from "./api.js";

const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 5000;
/** A second without a word is the rule; so long is silence. */
const SILENCE_MS = 10_000;
/** Ten minutes. */
const ROWS_MAX = 600;

/**
 * Calls `tell` with `{ status, moment, columns }` whenever one of them changes. Status: "connecting",
 * "live", "paused" while nobody looks, "gone", "locked" without a token that is good enough, "over"
 * when the runtime has ended.
 */
export function watch(tell) {
  let state = { status: "connecting", moment: undefined, columns: undefined };
  let stream;
  let timer;
  let retryMs = RETRY_MS_MIN;

  const change = (changes) => tell((state = { ...state, ...changes }));

  const events = {
    history: ({ columns, rows }) => change({ status: "live", columns: columnsOf(columns, rows) }),
    now: ({ moment, row }) => change({ status: "live", moment, columns: withRow(state.columns, row) }),
    over: () => change({ status: "over" }),
  };

  const stop = () => {
    clearTimeout(timer);
    stream?.abort();
    stream = undefined;
  };

  const again = () => void open();

  const open = async () => {
    stop();
    if (document.hidden) {
      change({ status: "paused" });
      return;
    }
    const own = new AbortController();
    stream = own;
    try {
      const response = await fetchFrom("/api/live", { signal: own.signal });
      retryMs = RETRY_MS_MIN;
      await read(response.body, own, (name, data) => events[name]?.(data));
    } catch (error) {
      if (own !== stream) return;
      if (error instanceof Refused && (error.status === 401 || error.status === 403)) {
        change({ status: "locked" });
        return;
      }
    }
    if (own !== stream) return;
    change({ status: "gone" });
    timer = setTimeout(again, retryMs);
    retryMs = Math.min(RETRY_MS_MAX, retryMs * 2);
  };

  document.addEventListener("visibilitychange", again);
  const forget = onToken(again);
  void open();
  return () => {
    document.removeEventListener("visibilitychange", again);
    forget();
    stop();
  };
}

async function read(body, own, take) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let silence;
  let unread = "";
  try {
    for (;;) {
      clearTimeout(silence);
      silence = setTimeout(() => own.abort(), SILENCE_MS);
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (unread + value).split("\n\n");
      unread = parts.pop();
      for (const part of parts) {
        const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(part) ?? [];
        if (name !== undefined) take(name, JSON.parse(data));
      }
    }
  } finally {
    clearTimeout(silence);
  }
}

function columnsOf(names, rows) {
  return Object.fromEntries(names.map((name, index) => [name, rows.map((row) => row[index])]));
}

function withRow(columns, row) {
  if (columns === undefined || row === null) return columns;
  const entries = Object.entries(columns);
  return Object.fromEntries(entries.map(([name, values], index) => [name, [...values, row[index]].slice(-ROWS_MAX)]));
}
