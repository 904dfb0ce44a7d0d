/** How the service stands: health, water levels, lanes, and the last ten minutes. */
import { Chart } from "./charts.js";
import { bytes, count, duration, milliseconds, rate } from "./format.js";
import { Badge, Figure, html, Meter, Table } from "./parts.js";

const CAUSES = { ring: "waiting for the disk", unfinished: "unfinished records", disk: "room on the disk" };
const TONES = { ok: "good", slow: "warn", reject: "bad", degraded: "warn", down: "bad" };

export function Overview({ moment, columns }) {
  const { perSecond, records } = moment;
  return html`
    <${Health} moment=${moment} />
    <dl class="figures">
      <${Figure} name="stored" value=${rate(perSecond.stored)} unit="/s" />
      <${Figure} name="done" value=${rate(perSecond.done)} unit="/s" />
      <${Figure} name="failed" value=${rate(perSecond.retried + perSecond.dead)} unit="/s" />
      <${Figure} name="unfinished" value=${count(records.unfinished)} />
      <${Figure} name="oldest waits" value=${records.oldestMs === 0 ? "–" : duration(records.oldestMs)} />
      <${Figure} name="dead letters" value=${count(records.dead)} tone=${records.dead > 0 ? "bad" : ""} />
    </dl>
    <div class="charts">
      <${Chart}
        title="Records per second"
        columns=${columns}
        format=${rate}
        lines=${[
          { column: "stored", name: "stored", tone: "blue" },
          { column: "done", name: "done", tone: "green" },
          { column: "failed", name: "failed", tone: "red" },
        ]}
      />
      <${Chart}
        title="Publish to acknowledgement"
        columns=${columns}
        format=${milliseconds}
        lines=${[
          { column: "ackP50", name: "p50", tone: "blue" },
          { column: "ackP99", name: "p99", tone: "orange" },
        ]}
      />
    </div>
    <${Water} moment=${moment} />
    <${Lanes} moment=${moment} />
    <${Waiting} records=${records} />
  `;
}

function Health({ moment }) {
  const { isReady, reasons } = moment;
  return html`<section aria-labelledby="health">
    <h3 id="health">Health</h3>
    <p>
      <${Badge} tone=${isReady ? "good" : "bad"}>${isReady ? "ready" : "not ready"}<//>
      ${reasons.length === 0 && " nothing to complain about"}
    </p>
    ${
      reasons.length > 0 &&
      html`<ul class="reasons">
        ${reasons.map(
          ({ code, status, text }) =>
            html`<li key=${code}><${Badge} tone=${TONES[status] ?? "warn"}>${code}<//> ${text}</li>`,
        )}
      </ul>`
    }
  </section>`;
}

function amount(unit, value) {
  return unit === "records" ? count(value) : bytes(value);
}

function Water({ moment }) {
  const { level, gauges, retryAfterMs } = moment.water;
  return html`<section aria-labelledby="water">
    <h3 id="water">Water levels <${Badge} tone=${TONES[level]}>${level}<//></h3>
    ${level === "reject" && html`<p>Publishes wait or are refused; more is taken in ${duration(retryAfterMs)}.</p>`}
    <ul class="levels">
      ${gauges.map(({ cause, unit, used, high, low, level: own }) => {
        // Of a disk the room is told: the mark is the least.
        const isRoom = unit === "bytesFree";
        const text = isRoom
          ? `${bytes(Math.abs(used))} free, least ${bytes(Math.abs(high))}`
          : `${amount(unit, used)} of ${amount(unit, high)}`;
        const name = CAUSES[cause] ?? cause;
        return html`<li key=${`${cause} ${unit}`}>
          <span
            >${name}
            <small>${isRoom ? "" : `refused from ${amount(unit, high)} down to ${amount(unit, low)}`}</small></span
          >
          <${Meter}
            name=${`${name}, ${unit}`}
            value=${isRoom ? Math.abs(high) : used}
            max=${isRoom ? Math.max(1, Math.abs(used)) : high}
            text=${text}
            tone=${TONES[own]}
          />
          <span class="number">${text}</span>
        </li>`;
      })}
    </ul>
  </section>`;
}

function Lanes({ moment }) {
  return html`<section aria-labelledby="lanes">
    <h3 id="lanes">Lanes</h3>
    <${Table}
      label="Lanes"
      heads=${["lane", { text: "waiting", isNumber: true }, "next one waits", "from"]}
      count=${moment.lanes.length}
    >
      ${moment.lanes.map(
        ({ priority, handler, waiting, isReadingSegments, oldestMs }) =>
          html`<tr key=${`${priority} ${handler}`}>
            <th scope="row">${priority}${handler !== undefined && html`, <code>${handler}</code> set apart`}</th>
            <td class="number">${count(waiting)}</td>
            <td>${oldestMs === undefined ? "–" : duration(Math.max(0, moment.at - oldestMs))}</td>
            <td>${isReadingSegments ? "the disk" : "memory"}</td>
          </tr>`,
      )}
    <//>
  </section>`;
}

function Waiting({ records }) {
  return html`<section aria-labelledby="waiting">
    <h3 id="waiting">Unfinished records</h3>
    <dl class="figures small">
      <${Figure} name="in hand" value=${count(records.running)} />
      <${Figure} name="wait for a time" value=${count(records.waitingRetry)} />
      <${Figure} name="behind their key" value=${count(records.waitingKey)} />
      <${Figure} name="held by their handler" value=${count(records.held)} />
      <${Figure} name="without a handler" value=${count(records.unroutable)} />
    </dl>
  </section>`;
}
