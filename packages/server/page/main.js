/** The page: its sections, the stream of figures, and the token. */
import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { onToken, setToken, takeTokenFromAddress, token } from "./api.js";
import { Dead } from "./dead.js";
import { Dialog } from "./dialogs.js";
import { Handlers } from "./handlers.js";
import { Journal } from "./journal.js";
import { watch } from "./live.js";
import { Machines } from "./machines.js";
import { Overview } from "./overview.js";
import { html } from "./parts.js";
import { Records } from "./records.js";
import { Schedules } from "./schedules.js";

const SECTIONS = [
  ["overview", "Overview", Overview],
  ["machines", "Machines", Machines],
  ["journal", "Journal", Journal],
  ["handlers", "Handlers", Handlers],
  ["records", "Records", Records],
  ["dead", "Dead letters", Dead],
  ["schedules", "Schedules", Schedules],
];

const STATUS = {
  connecting: "connecting …",
  live: "live",
  paused: "paused while nobody looks",
  gone: "the server is gone; trying again …",
  locked: "a token is needed",
  over: "the runtime has ended",
};

/** The section and the place in it, out of `#records/key/A-1`. */
function placeInAddress() {
  const [name, ...rest] = decoded(location.hash.slice(1)).split("/");
  const known = SECTIONS.some(([section]) => section === name);
  return known ? { section: name, place: rest.join("/") } : { section: "overview", place: "" };
}

/** A text that somebody has typed may be no code at all. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function go(section, place) {
  location.hash = `${section}/${encodeURIComponent(place)}`;
}

function Page() {
  const [live, setLive] = useState({ status: "connecting" });
  const [where, setWhere] = useState(placeInAddress);
  const heading = useRef();
  useEffect(() => watch(setLive), []);
  useEffect(() => {
    const moved = () => {
      setWhere(placeInAddress());
      heading.current?.focus();
    };
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  const { status, moment, columns } = live;
  const [, title, Section] = SECTIONS.find(([name]) => name === where.section);
  useEffect(() => {
    document.title = `${title} – Millrace`;
  }, [title]);
  return html`
    <a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), heading.current.focus())}
      >Skip to content</a
    >
    <header>
      <h1>Millrace</h1>
      <p class=${`status ${status}`} role="status">${STATUS[status]}</p>
      ${moment !== undefined && html`<p class="version">${moment.version}, Node ${moment.node}</p>`}
      <${Token} />
    </header>
    <nav aria-label="Sections">
      ${SECTIONS.map(
        ([name, text]) =>
          html`<a key=${name} href=${`#${name}`} aria-current=${name === where.section ? "page" : undefined}
            >${text}${name === "dead" && moment?.records.dead > 0 && html` <span class="number">${moment.records.dead}</span>`}</a
          >`,
      )}
    </nav>
    <main id="main" class=${status === "live" ? "" : "old"}>
      <h2 tabindex="-1" ref=${heading}>${title}</h2>
      ${
        moment === undefined || columns === undefined
          ? html`<p role="status">
              ${status === "locked" ? "Choose “Token” above and give one with the scope read." : "Waiting for the first figures …"}
            </p>`
          : html`<${Section}
              key=${where.section}
              moment=${moment}
              columns=${columns}
              place=${where.place}
              go=${(place) => go(where.section, place)}
              show=${(sequence) => go("records", `sequence/${sequence}`)}
            />`
      }
    </main>
  `;
}

function Token() {
  const [isOpen, setOpen] = useState(false);
  const [isGiven, setGiven] = useState(token() !== undefined);
  useEffect(() => onToken(() => setGiven(token() !== undefined)), []);
  const save = (event) => {
    event.preventDefault();
    setToken(new FormData(event.currentTarget).get("token").trim());
    setOpen(false);
  };
  return html`<div class="token">
    <button aria-haspopup="dialog" onClick=${() => setOpen(true)}>Token${isGiven ? " ✓" : ""}</button>
    ${
      isOpen &&
      html`<${Dialog} title="Token" onClose=${() => setOpen(false)}>
        <form onSubmit=${save}>
          <p>
            Figures are for everybody on this machine. Records need a token with the scope <code>read</code>, and
            changes one with <code>admin</code>. The command prints an address that has one, unless a file has them.
          </p>
          <label>token <input name="token" type="password" autocomplete="off" /></label>
          <div class="actions">
            <button type="button" onClick=${() => setOpen(false)}>Cancel</button>
            ${isGiven && html`<button type="button" onClick=${() => (setToken(undefined), setOpen(false))}>Forget it</button>`}
            <button class="main">Use it</button>
          </div>
        </form>
      <//>`
    }
  </div>`;
}

takeTokenFromAddress();
render(html`<${Page} />`, document.getElementById("page"));
