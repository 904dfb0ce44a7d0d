/** Lines over time, drawn by uPlot. */
import { Component } from "preact";
import { html } from "./parts.js";

const HEIGHT = 180;
const DARK = matchMedia("(prefers-color-scheme: dark)");

/**
 * `columns` has a list of numbers for each of `lines` (`{ column, name, tone }`) and `at`, in
 * seconds. `format` makes a text of a value.
 */
export class Chart extends Component {
  #plot;
  #element;
  #sizes;
  #redraw = () => this.#draw();

  componentDidMount() {
    this.#draw();
    DARK.addEventListener("change", this.#redraw);
    this.#sizes = new ResizeObserver(() => this.#plot?.setSize(this.#size()));
    this.#sizes.observe(this.#element);
  }

  componentDidUpdate() {
    this.#plot?.setData(this.#data());
  }

  componentWillUnmount() {
    DARK.removeEventListener("change", this.#redraw);
    this.#sizes.disconnect();
    this.#plot?.destroy();
  }

  #size() {
    return { width: Math.max(200, this.#element.clientWidth), height: HEIGHT };
  }

  #data() {
    const { columns, lines } = this.props;
    return [columns.at, ...lines.map(({ column }) => columns[column])];
  }

  #draw() {
    this.#plot?.destroy();
    const colour = (name) => getComputedStyle(this.#element).getPropertyValue(`--${name}`).trim();
    const { lines, format } = this.props;
    const axis = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
    const options = {
      ...this.#size(),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: { y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      axes: [
        { ...axis, size: 40 },
        { ...axis, size: 64, values: (_plot, values) => values.map((value) => format(value)) },
      ],
      series: [
        {},
        ...lines.map(({ tone }) => ({ stroke: colour(tone), width: 2, spanGaps: false, points: { show: false } })),
      ],
      hooks: { setCursor: [({ cursor }) => this.setState({ index: cursor.idx ?? undefined })] },
    };
    this.#plot = new globalThis.uPlot(options, this.#data(), this.#element);
  }

  render({ title, columns, lines, format }, { index }) {
    const at = index ?? columns.at.length - 1;
    const values = lines.map(({ column, name, tone }) => ({ name, tone, text: format(columns[column][at]) }));
    const words = values.map(({ name, text }) => `${name} ${text}`).join(", ");
    return html`<figure class="chart">
      <figcaption>
        ${title}
        ${values.map(({ name, tone, text }) => html`<span class=${`line ${tone}`}>${name} <b>${text}</b></span>`)}
      </figcaption>
      <div role="img" aria-label=${`${title}: ${words}`} ref=${(element) => (this.#element = element)}></div>
    </figure>`;
  }
}
