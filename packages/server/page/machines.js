/** Worker threads and their queues. */
import { fetchFrom } from "./api.js";
import { Chart } from "./charts.js";
import { count, milliseconds, rate, share } from "./format.js";
import { Figure, html, Meter, Problem, Table } from "./parts.js";
import { useState } from "preact/hooks";

export function Machines({ moment, columns }) {
  const { workers, perSecond, latencyMs, eventLoopDelayMs } = moment;
  return html`
    <dl class="figures">
      <${Figure} name="running" value=${count(workers.running)} />
      <${Figure} name="parked" value=${count(workers.parked)} />
      <${Figure} name="spare" value=${count(workers.spare)} />
      <${Figure} name="replaced" value=${count(workers.restarts)} tone=${workers.restarts > 0 ? "bad" : ""} />
      <${Figure} name="tasks" value=${rate(perSecond.tasks)} unit="/s" />
      <${Figure} name="wait for a thread, p99" value=${milliseconds(latencyMs.wait.p99)} />
      <${Figure} name="run, p50" value=${milliseconds(latencyMs.run.p50)} />
      <${Figure} name="run, p99" value=${milliseconds(latencyMs.run.p99)} />
      <${Figure} name="event loop delay" value=${milliseconds(eventLoopDelayMs)} />
    </dl>
    <div class="charts">
      <${Chart}
        title="Busy threads"
        columns=${columns}
        format=${(value) => (value === null || value === undefined ? "–" : value.toFixed(2))}
        lines=${[{ column: "busy", name: "busy", tone: "blue" }]}
      />
      <${Chart}
        title="Tasks, p99"
        columns=${columns}
        format=${milliseconds}
        lines=${[
          { column: "waitP99", name: "wait", tone: "orange" },
          { column: "runP99", name: "run", tone: "green" },
        ]}
      />
    </div>
    <section aria-labelledby="threads">
      <h3 id="threads">Threads</h3>
      <${Table}
        label="Threads"
        count=${workers.each.length}
        heads=${[
          "thread",
          "busy",
          { text: "queue", isNumber: true },
          { text: "parks /s", isNumber: true },
          { text: "woken for nothing /s", isNumber: true },
          { text: "steals /s", isNumber: true },
          { text: "tasks stolen /s", isNumber: true },
        ]}
      >
        ${workers.each.map(
          (worker, index) =>
            worker.isStarted &&
            html`<tr key=${index}>
              <th scope="row">${index}</th>
              <td class="bar">
                <${Meter}
                  name=${`thread ${index} busy`}
                  value=${worker.busy}
                  max=${1}
                  text=${share(worker.busy)}
                  tone="good"
                />
                <span class="number">${share(worker.busy)}</span>
              </td>
              <td class="number">${count(worker.queueDepth)}</td>
              <td class="number">${rate(worker.parks)}</td>
              <td class="number">${rate(worker.noopWakeups)}</td>
              <td class="number">${rate(worker.steals)}</td>
              <td class="number">${rate(worker.stolenTasks)}</td>
            </tr>`,
        )}
      <//>
    </section>
    <${Trace} isTraced=${moment.isTraced} />
  `;
}

function Trace({ isTraced }) {
  const [error, setError] = useState();
  const download = async () => {
    try {
      const address = URL.createObjectURL(await (await fetchFrom("/api/trace")).blob());
      const link = Object.assign(document.createElement("a"), { href: address, download: "trace.json" });
      link.click();
      URL.revokeObjectURL(address);
      setError(undefined);
    } catch (thrown) {
      setError(thrown);
    }
  };
  return html`<section aria-labelledby="trace">
    <h3 id="trace">Trace</h3>
    ${
      isTraced
        ? html`<p>What each thread did, task by task, for ui.perfetto.dev.</p>
            <button onClick=${download}>Download</button>`
        : html`<p>The runtime was opened without the option <code>trace</code>.</p>`
    }
    <${Problem} error=${error} />
  </section>`;
}
