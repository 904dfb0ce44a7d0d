/** The log: what is durable, how fast the disk is, what it has room for. */
import { Chart } from "./charts.js";
import { amount, bytes, count, duration, milliseconds, rate } from "./format.js";
import { Badge, Figure, html } from "./parts.js";

export function Journal({ moment, columns }) {
  const { journal, log, perSecond, latencyMs } = moment;
  return html`
    <p>
      <${Badge} tone=${log.state === "open" ? "good" : "bad"}>${log.state}<//> on ${log.storage}
      ${!log.isSynced && html` <${Badge} tone="bad">UNSAFE: not synced<//>`}
    </p>
    <dl class="figures">
      <${Figure} name="syncs" value=${rate(perSecond.syncs)} unit="/s" />
      <${Figure} name="sync, p50" value=${milliseconds(latencyMs.sync.p50)} />
      <${Figure} name="sync, p99" value=${milliseconds(latencyMs.sync.p99)} />
      <${Figure} name="running sync" value=${journal.syncRunningMs === 0 ? "–" : milliseconds(journal.syncRunningMs)} />
      <${Figure} name="records a batch" value=${rate(journal.recordsPerBatch)} />
      <${Figure} name="written" value=${bytes(perSecond.bytes)} unit="/s" />
      <${Figure} name="free on the disk" value=${bytes(journal.freeBytes)} />
    </dl>
    <div class="charts">
      <${Chart}
        title="Write and sync of a batch"
        columns=${columns}
        format=${milliseconds}
        lines=${[
          { column: "syncP50", name: "p50", tone: "blue" },
          { column: "syncP99", name: "p99", tone: "orange" },
        ]}
      />
      <${Chart}
        title="Unfinished records"
        columns=${columns}
        format=${count}
        lines=${[{ column: "unfinished", name: "unfinished", tone: "blue" }]}
      />
    </div>
    <section aria-labelledby="places">
      <h3 id="places">Places</h3>
      <dl class="figures small">
        <${Figure} name="first in the log" value=${count(log.firstSequence)} />
        <${Figure} name="finished up to" value=${count(journal.finishedUpTo)} />
        <${Figure} name="durable up to" value=${count(journal.durableSequence)} />
        <${Figure} name="segment" value=${count(journal.segment)} />
        <${Figure} name="segments to verify" value=${count(log.unverifiedSegments)} />
        <${Figure} name="damaged places" value=${count(log.damagedPlaces)} tone=${log.damagedPlaces > 0 ? "bad" : ""} />
      </dl>
    </section>
    <section aria-labelledby="opening">
      <h3 id="opening">The last opening</h3>
      <p>
        It took ${milliseconds(log.openingMs)}. ${amount(log.recovered, "record")} waited.
        ${log.tornBytes > 0 && ` ${bytes(log.tornBytes)} of a torn tail, never acknowledged, were set aside.`} ${" "}The
        process has run for ${duration(moment.uptimeMs)}.
      </p>
      ${
        log.checkpointError !== undefined &&
        html`<p class="problem">The latest checkpoint failed and is tried again: ${log.checkpointError}</p>`
      }
    </section>
  `;
}
