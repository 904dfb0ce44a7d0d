/** Dead letters: filter, look, and redrive or drop what a filter picks, with its number shown first. */
import { useState } from "preact/hooks";
import { ask, query } from "./api.js";
import { Dialog } from "./dialogs.js";
import { amount, count, time } from "./format.js";
import { html, Problem, Table, useAnswer } from "./parts.js";
import { errorText } from "./records.js";

const REASONS = ["error", "timeout", "death", "refused", "exhausted", "quarantine"];
const PAGE = 50;

/** Of the form: the server's own filter. Times are of the time zone of whoever looks. */
function filterOf(form) {
  const { handler, reason, key, text, from, to } = Object.fromEntries(new FormData(form));
  const ms = (value) => (value === "" ? undefined : new Date(value).getTime());
  return { handler, reason, key, text, from: ms(from), to: ms(to) };
}

function withoutEmpty(filter) {
  return Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined && value !== ""));
}

export function Dead({ moment, show }) {
  const [filter, setFilter] = useState({});
  /** Sequences behind which pages begin. */
  const [pages, setPages] = useState([0]);
  const [asked, setAsked] = useState(0);
  const [changing, setChanging] = useState();
  const [done, setDone] = useState("");
  const after = pages.at(-1);
  const list = useAnswer(`/api/dead${query({ ...filter, after, limit: PAGE })}`, [asked]);
  const found = useAnswer(`/api/dead/count${query(filter)}`, [asked]);
  const apply = (event) => {
    event.preventDefault();
    setFilter(filterOf(event.currentTarget));
    setPages([0]);
    setAsked(asked + 1);
    setDone("");
  };
  const over = (text) => {
    setChanging(undefined);
    if (text === undefined) return;
    setDone(text);
    setPages([0]);
    setAsked(asked + 1);
  };
  const { letters = [], isMore = false } = list.answer ?? {};
  return html`
    <${Filters} handlers=${moment.handlers} onSubmit=${apply} />
    <${Problem} error=${list.error ?? found.error} />
    <div class="actions">
      <p role="status">
        ${done}${" "}${
          found.isLoading
            ? "Counting …"
            : found.answer !== undefined && `${amount(found.answer.count, "letter matches", "letters match")}.`
        }
      </p>
      <button disabled=${!(found.answer?.count > 0)} onClick=${() => setChanging("redrive")}>Redrive …</button>
      <button class="danger" disabled=${!(found.answer?.count > 0)} onClick=${() => setChanging("drop")}>Drop …</button>
    </div>
    <${Letters} letters=${letters} show=${show} isLoading=${list.isLoading} />
    <nav class="pages" aria-label="Pages of letters">
      <button disabled=${pages.length === 1} onClick=${() => setPages(pages.slice(0, -1))}>Previous</button>
      <span>page ${pages.length}</span>
      <button disabled=${!isMore} onClick=${() => setPages([...pages, letters.at(-1).sequence])}>Next</button>
    </nav>
    ${changing !== undefined && html`<${Change} what=${changing} filter=${filter} onClose=${over} />`}
  `;
}

function Filters({ handlers, onSubmit }) {
  return html`<form class="search" onSubmit=${onSubmit}>
    <label>
      handler
      <select name="handler">
        <option value="">all</option>
        ${handlers.map(({ handler }) => html`<option key=${handler} value=${handler}>${handler}</option>`)}
      </select>
    </label>
    <label>
      reason
      <select name="reason">
        <option value="">all</option>
        ${REASONS.map((reason) => html`<option key=${reason} value=${reason}>${reason}</option>`)}
      </select>
    </label>
    <label>order key <input name="key" autocomplete="off" /></label>
    <label>text in error or payload <input name="text" autocomplete="off" /></label>
    <label>died from <input name="from" type="datetime-local" step="1" /></label>
    <label>died before <input name="to" type="datetime-local" step="1" /></label>
    <button>Filter</button>
  </form>`;
}

function Letters({ letters, show, isLoading }) {
  return html`<${Table}
    label="Dead letters"
    count=${letters.length}
    empty=${isLoading ? "Looking …" : "No letters."}
    heads=${[{ text: "record", isNumber: true }, "died", "handler", "key", "reason", { text: "attempts", isNumber: true }, "error"]}
  >
    ${letters.map(
      ({ sequence, diedAt, handler, key, reason, attempts, error }) =>
        html`<tr key=${sequence}>
          <th scope="row" class="number">
            <button class="link" aria-label=${`show record ${sequence}`} onClick=${() => show(sequence)}>
              ${sequence}
            </button>
          </th>
          <td class="time">${time(diedAt)}</td>
          <td><code>${handler}</code></td>
          <td>${key === undefined ? "–" : html`<code>${key}</code>`}</td>
          <td>${reason}</td>
          <td class="number">${count(attempts)}</td>
          <td class="error"><code>${errorText(error)}</code></td>
        </tr>`,
    )}
  <//>`;
}

/**
 * Counts first, and does what was counted: letters that die meanwhile aren't meant. That is what
 * `to` of the answer says.
 */
function Change({ what, filter, onClose }) {
  const counted = useAnswer(`/api/dead/count${query(filter)}`);
  const [error, setError] = useState();
  const [isBusy, setBusy] = useState(false);
  const { count: number, to } = counted.answer ?? {};
  const carryOut = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const { count: changed } = await ask(`/api/dead/${what}`, { body: { ...withoutEmpty(filter), to } });
      onClose(`${amount(changed, "letter")} ${what === "redrive" ? "redriven" : "dropped"}.`);
    } catch (thrown) {
      setError(thrown);
      setBusy(false);
    }
  };
  const terms = Object.entries(withoutEmpty(filter)).map(([name, value]) =>
    name === "from" || name === "to" ? `${name} ${time(value)}` : `${name} “${value}”`,
  );
  const title = what === "redrive" ? "Redrive letters" : "Drop letters";
  return html`<${Dialog} title=${title} onClose=${() => onClose()}>
    <form onSubmit=${carryOut}>
      <p>${terms.length === 0 ? "Every letter." : `Letters with ${terms.join(", ")}.`}</p>
      <p role="status">
        ${
          counted.answer === undefined
            ? "Counting …"
            : what === "redrive"
              ? `${amount(number, "letter gets", "letters get")} another turn, once. All attempts begin anew.`
              : `${amount(number, "letter is", "letters are")} given up for good.`
        }
      </p>
      <${Problem} error=${error ?? counted.error} />
      <div class="actions">
        <button type="button" onClick=${() => onClose()}>Cancel</button>
        <button class=${what === "drop" ? "danger" : "main"} disabled=${isBusy || !(number > 0)}>
          ${isBusy ? "Working …" : `${what === "redrive" ? "Redrive" : "Drop"} ${count(number)}`}
        </button>
      </div>
    </form>
  <//>`;
}
