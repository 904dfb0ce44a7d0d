/** Handlers: what they do, and whether they get records. */
import { useState } from "preact/hooks";
import { ask } from "./api.js";
import { count, rate } from "./format.js";
import { Badge, html, Problem, Table } from "./parts.js";

const STATES = {
  open: ["good", "open"],
  paused: ["warn", "paused"],
  busy: ["", "at its limit"],
  rate: ["", "at its rate"],
  resting: ["bad", "resting: it kept failing"],
  missing: ["bad", "not in the module"],
  unwritten: ["warn", "waits for the disk"],
};

export function Handlers({ moment }) {
  const [error, setError] = useState();
  /** The handler that is being changed. */
  const [busy, setBusy] = useState();
  const change = async (what, handler) => {
    setBusy(handler);
    try {
      await ask(`/api/handlers/${what}`, { body: { handler } });
      setError(undefined);
    } catch (thrown) {
      setError(thrown);
    }
    setBusy(undefined);
  };
  return html`
    <${Problem} error=${error} />
    <${Table}
      label="Handlers"
      count=${moment.handlers.length}
      empty="The module exports none."
      heads=${[
        "handler",
        "state",
        "command",
        { text: "done /s", isNumber: true },
        { text: "failed /s", isNumber: true },
        { text: "in hand", isNumber: true },
        { text: "held", isNumber: true },
        { text: "done", isNumber: true },
        { text: "failed", isNumber: true },
      ]}
    >
      ${moment.handlers.map((each) => {
        const [tone, text] = STATES[each.state] ?? ["", each.state];
        const what = each.state === "paused" ? "resume" : "pause";
        return html`<tr key=${each.handler}>
          <th scope="row"><code>${each.handler}</code></th>
          <td><${Badge} tone=${tone}>${text}<//></td>
          <td>
            ${
              each.state !== "missing" &&
              html`<button
                disabled=${busy === each.handler}
                aria-label=${`${what} ${each.handler}`}
                onClick=${() => change(what, each.handler)}
              >
                ${what}
              </button>`
            }
          </td>
          <td class="number">${rate(each.donePerSecond)}</td>
          <td class="number">${rate(each.failedPerSecond)}</td>
          <td class="number">
            ${count(each.running)}${each.concurrencyMax !== undefined && ` of ${count(each.concurrencyMax)}`}
          </td>
          <td class="number">${count(each.held)}</td>
          <td class="number">${count(each.done)}</td>
          <td class="number">${count(each.failed)}</td>
        </tr>`;
      })}
    <//>
    <p class="hint">
      Numbers count since the opening. A paused handler stays paused across restarts; its records wait.
    </p>
  `;
}
