/** Schedules: what is published when. */
import { useEffect, useState } from "preact/hooks";
import { count, duration, time } from "./format.js";
import { Badge, html, Problem, Table, useAnswer } from "./parts.js";

const EVERY_MS = 10_000;
const TONES = { active: "good", over: "", resting: "warn" };

export function Schedules() {
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || setTurn((before) => before + 1), EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  const { isLoading, answer, error } = useAnswer("/api/schedules", [turn]);
  const schedules = answer?.schedules ?? [];
  return html`
    <${Problem} error=${error} />
    <${Table}
      label="Schedules"
      count=${schedules.length}
      empty=${isLoading ? "Looking …" : "There are none."}
      heads=${["name", "state", "handler", "when", "last", "next", { text: "missed", isNumber: true }, "catches up"]}
    >
      ${schedules.map(
        (each) =>
          html`<tr key=${each.name}>
            <th scope="row">${each.name}</th>
            <td><${Badge} tone=${TONES[each.state]}>${each.state}<//></td>
            <td><code>${each.handler}</code></td>
            <td>
              ${each.cron === undefined ? `every ${duration(each.everyMs)}` : html`<code>${each.cron}</code> ${each.timeZone}`}
            </td>
            <td>${time(each.lastDueAtMs)}</td>
            <td>${time(each.nextDueAtMs)}</td>
            <td class="number">${count(each.missed)}</td>
            <td>${each.catchUp}</td>
          </tr>`,
      )}
    <//>
  `;
}
