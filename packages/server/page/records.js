/** One record: looked for by its sequence, its order key or its id; and what became of it. */
import { useState } from "preact/hooks";
import { query } from "./api.js";
import { time } from "./format.js";
import { Badge, html, Problem, useAnswer } from "./parts.js";

const STATES = { waiting: "warn", running: "", done: "good", dead: "bad", expired: "warn" };

/** `context.record.id`: the log's id, and the sequence. */
const ID = /^[0-9a-f]{32}-(\d{1,15})$/;

function pathOf(text) {
  const sequence = ID.exec(text)?.[1] ?? (/^\d{1,15}$/.test(text) ? text : undefined);
  return sequence === undefined ? undefined : `/api/records/${sequence}`;
}

export function Records({ place, go }) {
  const [, by, text] = /^(sequence|key)\/(.*)$/.exec(place) ?? [];
  const [problem, setProblem] = useState("");
  const submit = (event) => {
    event.preventDefault();
    const { what, value } = Object.fromEntries(new FormData(event.currentTarget));
    if (what === "sequence" && pathOf(value.trim()) === undefined) {
      setProblem("A sequence is a whole number, and an id ends with one.");
      return;
    }
    setProblem("");
    go(`${what}/${what === "key" ? value : value.trim()}`);
  };
  return html`
    <form class="search" onSubmit=${submit} key=${place}>
      <label>
        look by
        <select name="what" defaultValue=${by ?? "sequence"}>
          <option value="sequence" selected=${by !== "key"}>sequence or id</option>
          <option value="key" selected=${by === "key"}>order key (the newest)</option>
        </select>
      </label>
      <label
        >value <input name="value" required maxlength="1000" autocomplete="off" defaultValue=${text ?? ""}
      /></label>
      <button>Look</button>
    </form>
    <p class="problem" role="alert">${problem}</p>
    ${by !== undefined && html`<${Found} path=${by === "key" ? `/api/records${query({ key: text })}` : pathOf(text)} />`}
  `;
}

function Found({ path }) {
  const { isLoading, answer, error } = useAnswer(path);
  if (error !== undefined) return html`<${Problem} error=${error} />`;
  if (answer === undefined) return html`<p role="status">${isLoading ? "Looking …" : ""}</p>`;
  return html`<${Record} answer=${answer} />`;
}

/** As the server tells it. */
export function Record({ answer }) {
  const { record, letter, state } = answer;
  const { sequence, handler, priority, key, publishedAt, payload, headers } = record ?? letter;
  return html`<article class="record" aria-label=${`record ${sequence}`}>
    <h3>Record ${sequence} <${Badge} tone=${STATES[state] ?? ""}>${state ?? "unknown"}<//></h3>
    <dl class="terms">
      <dt>handler</dt>
      <dd><code>${letter?.handler ?? handler}</code></dd>
      ${
        key !== undefined &&
        html`<dt>order key</dt>
          <dd><code>${key}</code></dd>`
      }
      ${
        priority !== undefined &&
        html`<dt>priority</dt>
          <dd>${priority}</dd>`
      }
      <dt>published</dt>
      <dd><time dateTime=${publishedAt}>${time(publishedAt)}</time></dd>
    </dl>
    <h4>Payload</h4>
    <${Value} value=${payload} label="Payload" />
    ${
      headers !== undefined &&
      html`<h4>Headers</h4>
        <${Value} value=${headers} label="Headers" />`
    }
    <h4>What became of it</h4>
    <${Story} key=${sequence} sequence=${sequence} letter=${letter} />
  </article>`;
}

/** Read out of the journal, which may take a while. */
function Story({ sequence, letter }) {
  const { answer, error } = useAnswer(`/api/records/${sequence}/timeline`);
  if (error !== undefined) return html`<${Problem} error=${error} />`;
  return html`
    <${Timeline} events=${answer?.events ?? failuresOf(letter)} />
    <p role="status">${answer === undefined ? "Reading the journal …" : ""}</p>
    ${answer?.isComplete === false && html`<p class="hint">The journal is long: what happened later wasn't read.</p>`}
  `;
}

/** Where the record's own place is gone, the letter still tells of its failures. */
function failuresOf(letter) {
  if (letter === null) return [];
  const failures = letter.failures.map(({ attempt, at, reason, error }) => ({
    kind: "failed",
    at,
    attempt,
    reason,
    error,
  }));
  return [...failures, { kind: "dead", at: letter.diedAt, reason: letter.reason, attempts: letter.attempts }];
}

function Value({ value, label }) {
  return html`<pre tabindex="0" role="region" aria-label=${label}>${JSON.stringify(value, undefined, 2)}</pre>`;
}

function Timeline({ events }) {
  return html`<ol class="timeline">
    ${events.map(
      (event, index) =>
        html`<li key=${index} class=${event.kind}>
          <time dateTime=${event.at}>${time(event.at)}</time> <span>${wordsOf(event)}</span>
          ${event.kind === "failed" && html`<code class="error">${errorText(event.error)}</code>`}
        </li>`,
    )}
  </ol>`;
}

function wordsOf({ kind, attempt, reason, dueAt, attempts, handler }) {
  switch (kind) {
    case "failed":
      return `attempt ${attempt} failed (${reason})`;
    case "waits":
      return dueAt === undefined ? "waits for room among the dead letters" : `waits until ${time(dueAt)}`;
    case "dead":
      return `dead after ${attempts} ${attempts === 1 ? "attempt" : "attempts"} (${reason})`;
    case "redriven":
      return handler === undefined ? "redriven" : `redriven to ${handler}`;
    case "copied":
      return "written again, so that older segments could be deleted";
    default:
      return kind;
  }
}

/** Any value can be thrown. */
export function errorText(error) {
  if (typeof error !== "object" || error === null) return String(error);
  if (typeof error.message !== "string") return JSON.stringify(error);
  return `${error.name}: ${error.message}`;
}
