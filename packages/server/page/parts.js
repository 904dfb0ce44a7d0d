/** Pieces that several sections are made of. Whatever they are given is text, never markup. */
import htm from "htm";
import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ask, problem } from "./api.js";

export const html = htm.bind(h);

/** A number with its name. */
export function Figure({ name, value, unit, tone }) {
  return html`<div class=${`figure ${tone ?? ""}`}>
    <dt>${name}</dt>
    <dd>${value}${unit && html` <small>${unit}</small>`}</dd>
  </div>`;
}

/** A part of a whole. */
export function Meter({ name, value, max, text, tone }) {
  const share = max > 0 ? Math.min(1, Math.max(0, value / max)) : 0;
  return html`<div
    class=${`meter ${tone ?? ""}`}
    role="meter"
    aria-label=${name}
    aria-valuemin="0"
    aria-valuemax="100"
    aria-valuenow=${Math.round(share * 100)}
    aria-valuetext=${text}
  >
    <div style=${{ width: `${share * 100}%` }}></div>
  </div>`;
}

/** A word with a colour; the word says it all. */
export function Badge({ tone, children }) {
  return html`<span class=${`badge ${tone}`}>${children}</span>`;
}

/** `heads` are texts, or `{ text, isNumber }`. A table may be wider than the screen. */
export function Table({ label, heads, children, empty, count }) {
  return html`<div class="wide" tabindex="0" role="region" aria-label=${`${label}, table`}>
    <table>
      <thead>
        <tr>
          ${heads.map((head) => html`<th scope="col" class=${head.isNumber ? "number" : ""}>${head.text ?? head}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${children}
        ${
          count === 0 &&
          html`<tr>
            <td class="empty" colspan=${heads.length}>${empty}</td>
          </tr>`
        }
      </tbody>
    </table>
  </div>`;
}

/** A failure, for users who see and users who listen. */
export function Problem({ error }) {
  return html`<p class="problem" role="alert">${error === undefined ? "" : problem(error)}</p>`;
}

/**
 * The server's answer to `path`, asked again whenever one of `inputs` changes. Until the next answer
 * the last one stays, also of another path, so that a list doesn't flicker. What belongs to one
 * subject alone gets a `key` of that subject.
 */
export function useAnswer(path, inputs = []) {
  const [state, setState] = useState({ isLoading: true });
  useEffect(() => {
    if (path === undefined) {
      setState({ isLoading: false });
      return undefined;
    }
    const ending = new AbortController();
    setState((before) => ({ ...before, isLoading: true }));
    ask(path, { signal: ending.signal }).then(
      (answer) => setState({ isLoading: false, answer }),
      (error) => ending.signal.aborted || setState({ isLoading: false, error }),
    );
    return () => ending.abort();
  }, [path, ...inputs]);
  return state;
}
