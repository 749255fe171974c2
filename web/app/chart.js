// A strip plot: one lane per transport, one dot per message, a mark at the median.
// Horizontal places are percentages, so that the drawing fits any width and its text keeps its size.

import { transports } from './transports.js';

const LANE = 38;
const TOP = 8;
const LEFT = 1;
const RIGHT = 97;
const FASTEST_MS = 0.1;

export class Chart {
  #svg;
  #lanes = new Map();
  #slowest;

  constructor(svg) {
    this.#svg = svg;
  }

  /** Empties the chart; the scale reaches a decade that has room for the short poll's interval. */
  begin(interval) {
    this.#slowest = interval > 8_000 ? 100_000 : 10_000;
    this.#svg.replaceChildren();
    const names = Object.keys(transports);
    const bottom = TOP + names.length * LANE;
    this.#svg.setAttribute('height', bottom + 24);
    for (let tick = FASTEST_MS; tick <= this.#slowest * 1.01; tick *= 10) this.#drawTick(tick, bottom);
    names.forEach((name, index) => this.#lanes.set(name, this.#drawLane(name, TOP + index * LANE)));
  }

  /** Adds the dots a lane does not have yet, and moves its median. */
  show(name, latencies, median) {
    const { dots, mark, middle } = this.#lanes.get(name);
    for (let index = dots.childElementCount; index < latencies.length; index += 1) {
      // Spread over three heights, so that equal times do not hide each other.
      const y = middle + ((index % 3) - 1) * 4;
      dots.append(shape('circle', { cx: this.#place(latencies[index]), cy: y, r: 3 }));
    }
    if (median === null) return;
    mark.setAttribute('x1', this.#place(median));
    mark.setAttribute('x2', this.#place(median));
    mark.removeAttribute('visibility');
  }

  #drawTick(tick, bottom) {
    const x = this.#place(tick);
    const label = shape('text', { x, y: bottom + 18, class: 'tick' });
    label.textContent = tick >= 1_000 ? `${Math.round(tick / 1_000)} s` : `${Number(tick.toFixed(1))} ms`;
    this.#svg.append(shape('line', { x1: x, x2: x, y1: TOP, y2: bottom, class: 'grid' }), label);
  }

  #drawLane(name, top) {
    const middle = top + 24;
    const lane = shape('g', { class: 'lane' });
    lane.dataset.via = name;
    const label = shape('text', { x: `${LEFT}%`, dx: 6, y: top + 11, class: 'name' });
    label.textContent = transports[name].label;
    const dots = shape('g', { class: 'dots' });
    const mark = shape('line', { y1: middle - 10, y2: middle + 10, class: 'median', visibility: 'hidden' });
    lane.append(label, dots, mark);
    this.#svg.append(lane);
    return { dots, mark, middle };
  }

  #place(milliseconds) {
    const clamped = Math.min(Math.max(milliseconds, FASTEST_MS), this.#slowest);
    const share = Math.log(clamped / FASTEST_MS) / Math.log(this.#slowest / FASTEST_MS);
    return `${(LEFT + share * (RIGHT - LEFT)).toFixed(2)}%`;
  }
}

function shape(name, attributes) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}
