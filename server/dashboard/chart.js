// A line chart over time in SVG. What the server says becomes text nodes and attributes, never markup.

import { age } from "./numbers.js";

const WIDTH = 560, HEIGHT = 190, LEFT = 74, RIGHT = 10, TOP = 8, BOTTOM = 22;

export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
  return node;
}

export class LineChart {
  // series: [{name, of}], of: sample -> number, or null where nothing was measured. format: number -> text, in steps of `unit`.
  constructor(title, series, format, spanSeconds, unit = 1000) {
    Object.assign(this, { title, series, format, spanSeconds, unit, samples: [], pointed: null });
    this.plot = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", preserveAspectRatio: "none" });
    this.legend = element("ul", { class: "legend" });
    this.node = element("section", { class: "card chart" }, element("h2", {}, title), this.plot, this.legend);
    this.plot.addEventListener("pointermove", (event) => this.point(event));
    this.plot.addEventListener("pointerleave", () => this.point(null));
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  show(samples) {
    this.samples = samples;
    this.draw();
  }

  point(event) {
    const box = this.plot.getBoundingClientRect();
    this.pointed = event && ((event.clientX - box.left) / box.width) * this.width();
    this.draw();
  }

  // A young page shows little time, so that its lines can be seen.
  span() {
    const known = (this.samples.at(-1)?.unix ?? 0) - (this.samples[0]?.unix ?? 0);
    return Math.min(this.spanSeconds, Math.max(30, Math.ceil(known / 15) * 15));
  }

  // The drawing has the width that the page gives it, so that text keeps its shape.
  width() {
    return Math.max(240, this.plot.clientWidth || WIDTH);
  }

  draw() {
    const width = this.width();
    const [end, span] = [this.samples.at(-1)?.unix ?? 0, this.span()];
    const x = (unix) => LEFT + (1 - (end - unix) / span) * (width - LEFT - RIGHT);
    const top = niceTop(Math.max(0, ...this.samples.flatMap((sample) => this.series.map(({ of }) => of(sample) ?? 0))), this.unit);
    const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
    const sample = this.chosen(x);
    this.plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.plot.replaceChildren(...this.grid(width, top, y), ...this.lines(x, y));
    if (this.pointed !== null && sample) {
      this.plot.append(svg("line", { class: "cursor", x1: x(sample.unix), x2: x(sample.unix), y1: TOP, y2: HEIGHT - BOTTOM }));
    }
    this.describe(sample);
  }

  // The sample under the pointer, else the last one.
  chosen(x) {
    if (this.pointed === null) return this.samples.at(-1);
    const distance = (sample) => Math.abs(x(sample.unix) - this.pointed);
    return this.samples.reduce((best, each) => (best && distance(best) <= distance(each) ? best : each), null);
  }

  grid(width, top, y) {
    const rows = [0, 0.5, 1].flatMap((share) => [
      svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(share * top), y2: y(share * top) }),
      svg("text", { class: "axis", x: LEFT - 8, y: y(share * top) + 4, "text-anchor": "end" }, this.format(share * top)),
    ]);
    const ends = [[LEFT, "start", `${age(this.span())} ago`], [width - RIGHT, "end", "now"]];
    const times = ends.map(([at, anchor, text]) => svg("text", { class: "axis", x: at, y: HEIGHT - 6, "text-anchor": anchor }, text));
    return [...rows, ...times];
  }

  lines(x, y) {
    return this.series.map(({ of }, place) => {
      let [path, drawing] = ["", false];
      for (const sample of this.samples) {
        const value = of(sample);
        if (value !== null) path += `${drawing ? "L" : "M"}${x(sample.unix).toFixed(1)},${y(value).toFixed(1)}`;
        drawing = value !== null;
      }
      return svg("path", { class: `series stroke-${place + 1}`, d: path });
    });
  }

  describe(sample) {
    const texts = this.series.map(({ name, of }) => [name, this.format(sample ? of(sample) : null)]);
    this.plot.setAttribute("aria-label", `${this.title}: ${texts.map((pair) => pair.join(" ")).join(", ")}`);
    this.legend.replaceChildren(
      ...texts.map(([name, text], place) =>
        element("li", {}, element("i", { class: `dot-${place + 1}` }), `${name} `, element("b", {}, text)),
      ),
    );
  }
}

// 1, 2 or 5 times a power of ten of the largest unit: 50 MiB, not 47.7.
function niceTop(value, unit) {
  if (!(value > 0)) return 1;
  const scale = value < unit ? 1 : unit ** Math.floor(Math.log(value) / Math.log(unit));
  const power = scale * 10 ** Math.floor(Math.log10(value / scale));
  return [1, 2, 5, 10].find((factor) => factor * power >= value) * power;
}
