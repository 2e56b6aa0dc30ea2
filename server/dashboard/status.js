// Asks for /status.json once a second, keeps three minutes of it, and shows both.

import { LineChart, element, svg } from "./chart.js";
import { age, bucketGrowth, bytes, count, growth, percentile, seconds, summed } from "./numbers.js";

const EVERY_MS = 1000, SPAN_SECONDS = 180;
const COLOURS = 6;
// A root may hold thousands of objects; a page of them would be drawn anew every second.
const MOST_ROWS = 200, MOST_BARS = 20;

const samples = [];
let before = null;

const rate = (format) => (value) => (value === null ? "–" : `${format(value)}/s`);
const charts = [
  new LineChart("Latency of calls", [0.5, 0.95, 0.99].map((share) => ({ name: `p${share * 100}`, of: (s) => s.latency[share] })), seconds, SPAN_SECONDS),
  new LineChart("Load", [{ name: "queries", of: (s) => s.queries }, { name: "calls", of: (s) => s.calls }, { name: "shed", of: (s) => s.shed }], rate(count), SPAN_SECONDS),
  new LineChart("Device reads", [{ name: "reads", of: (s) => s.reads }], rate(count), SPAN_SECONDS),
  new LineChart("Bytes read", [{ name: "from the device", of: (s) => s.readBytes }], rate(bytes), SPAN_SECONDS, 1024),
];

function sampleOf(before, now) {
  const elapsed = Math.max(now.unix - before.unix, 1e-3);
  const per = (was, is) => growth(was, is) / elapsed;
  const old = new Map(before.methods.map((method) => [method.name, method]));
  const total = (codes) => Object.values(codes ?? {}).reduce((sum, value) => sum + value, 0);
  const calls = now.methods.reduce((sum, { name, codes }) => sum + growth(total(old.get(name)?.codes), total(codes)), 0);
  const buckets = summed(now.methods.map(({ name, buckets }) => bucketGrowth(old.get(name)?.buckets ?? [], buckets)));
  const held = new Map(before.objects.map((object) => [objectKey(object), object]));
  const read = (field) => now.objects.reduce((sum, object) => sum + growth(held.get(objectKey(object))?.[field] ?? 0, object[field] ?? 0), 0);
  return {
    unix: now.unix,
    latency: Object.fromEntries([0.5, 0.95, 0.99].map((share) => [share, percentile(buckets, calls, share)])),
    queries: per(before.searches.queries, now.searches.queries),
    calls: calls / elapsed,
    shed: per(total(before.shed), total(now.shed)),
    reads: read("reads") / elapsed,
    readBytes: read("read_bytes") / elapsed,
  };
}

const objectKey = ({ kind, name }) => `${kind}/${name}`;

function showServer({ server, unix }) {
  const parts = [server.version && `version ${server.version}`, server.listen, server.started_unix && `up ${age(unix - server.started_unix)}`];
  document.getElementById("server").textContent = parts.filter(Boolean).join(" · ");
  showState(server.state ?? "serving", (server.state ?? "serving") === "serving");
}

function showState(text, good) {
  const state = document.getElementById("state");
  if (state.textContent !== text) state.textContent = text;
  state.className = good ? "good" : "bad";
}

function showTiles(now, sample) {
  const inFlight = now.methods.reduce((sum, method) => sum + method.in_flight, 0);
  const held = now.objects.flatMap((object) => Object.values(object.memory)).reduce((sum, value) => sum + value, 0);
  const tiles = [
    ["queries", rate(count)(sample?.queries ?? null)],
    ["p50", seconds(sample?.latency[0.5] ?? null)],
    ["p99", seconds(sample?.latency[0.99] ?? null)],
    ["in flight", count(inFlight)],
    ["waiting", `${count(now.queue.calls)}`],
    ["queued", bytes(now.queue.bytes)],
    ["device reads", rate(count)(sample?.reads ?? null)],
    ["in memory", bytes(held)],
    ["resident", bytes(now.resident_bytes)],
  ];
  document.getElementById("tiles").replaceChildren(
    ...tiles.map(([name, text]) => element("div", { class: "tile" }, element("span", {}, name), element("strong", {}, text))),
  );
}

// One bar for each open object, as long as its share of the largest.
function showMemory({ objects }) {
  const open = objects.map((object) => ({ object, parts: memoryParts(object) })).filter(({ parts }) => parts.length);
  const sum = (parts) => parts.reduce((total, [, value]) => total + value, 0);
  open.sort((a, b) => sum(b.parts) - sum(a.parts));
  const longest = open.length ? sum(open[0].parts) : 1;
  document.getElementById("memory").replaceChildren(
    ...(open.length ? open.slice(0, MOST_BARS).map(({ object, parts }) => memoryBar(object, parts, sum(parts), longest)) : [none("nothing is open")]),
  );
}

function memoryParts({ memory }) {
  const parts = Object.entries(memory).filter(([, value]) => value > 0).sort(([, a], [, b]) => b - a);
  if (parts.length <= COLOURS) return parts;
  const rest = parts.slice(COLOURS - 1).reduce((sum, [, value]) => sum + value, 0);
  return [...parts.slice(0, COLOURS - 1), ["other", rest]];
}

function memoryBar(object, parts, total, longest) {
  let at = 0;
  const drawing = svg("svg", { viewBox: "0 0 1000 14", preserveAspectRatio: "none", role: "img", "aria-label": `${bytes(total)} held` });
  const legend = element("ul", { class: "legend" });
  parts.forEach(([owner, value], place) => {
    const width = (1000 * value) / longest;
    drawing.append(svg("rect", { class: `fill-${place + 1}`, x: at, y: 0, width: Math.max(width - 1.5, 0.5), height: 14 }));
    legend.append(element("li", {}, element("i", { class: `dot-${place + 1}` }), `${owner} `, element("b", {}, bytes(value))));
    at += width;
  });
  const title = element("p", {}, element("span", {}, `${object.kind} / ${object.name}`), element("b", {}, bytes(total)));
  return element("div", { class: "bar" }, title, drawing, legend);
}

function showObjects({ objects }) {
  const rows = objects.filter(({ kind }) => kind !== "server").map(({ kind, name, version, num_rows, disk_bytes, memory, lookups, reads, read_bytes }) => {
    const asked = Object.values(lookups).reduce((sum, value) => sum + value, 0);
    const hits = asked ? `${((100 * (asked - (lookups.device ?? 0))) / asked).toFixed(1)} %` : "–";
    const held = Object.values(memory).reduce((sum, value) => sum + value, 0);
    return [kind, name, version ? count(version) : "–", count(num_rows ?? 0), bytes(disk_bytes ?? 0), bytes(held), hits, count(reads ?? 0), bytes(read_bytes ?? 0)];
  });
  table("objects", ["kind", "name", "version", "rows", "on disk", "in memory", "from memory", "reads", "read"], 2, rows, "the root is empty");
}

function showMethods({ methods }) {
  const rows = methods.map(({ name, codes, in_flight, buckets }) => {
    const total = Object.values(codes).reduce((sum, value) => sum + value, 0);
    const failed = total - (codes.OK ?? 0);
    return [name, count(total), count(failed), count(in_flight), ...[0.5, 0.95, 0.99].map((share) => seconds(percentile(buckets, total, share)))];
  });
  table("methods", ["call", "ended", "not OK", "in flight", "p50", "p95", "p99"], 1, rows, "nobody has called yet");
}

function table(id, headings, texts, rows, empty) {
  const cells = (name, row) => row.map((text, place) => element(name, place < texts ? { class: "text", title: text } : {}, text));
  const whole = (text) => element("tr", {}, element("td", { class: "text", colspan: headings.length }, text));
  const body = rows.slice(0, MOST_ROWS).map((row) => element("tr", {}, ...cells("td", row)));
  if (!rows.length) body.push(whole(empty));
  if (rows.length > MOST_ROWS) body.push(whole(`and ${count(rows.length - MOST_ROWS)} more; /metrics has them all`));
  document.getElementById(id).replaceChildren(
    element("thead", {}, element("tr", {}, ...cells("th", headings))),
    element("tbody", {}, ...body),
  );
}

function none(text) {
  return element("p", { class: "none" }, text);
}

async function ask() {
  const response = await fetch("status.json", { signal: AbortSignal.timeout(5000) });
  if (!response.ok) throw new Error(`status ${response.status}`);
  return response.json();
}

function show(now) {
  if (before !== null && now.unix > before.unix) samples.push(sampleOf(before, now));
  while (samples.length && now.unix - samples[0].unix > SPAN_SECONDS) samples.shift();
  before = now;
  showServer(now);
  showTiles(now, samples.at(-1));
  for (const chart of charts) chart.show(samples);
  showMemory(now);
  showObjects(now);
  showMethods(now);
}

async function run() {
  document.getElementById("charts").append(...charts.map((chart) => chart.node));
  for (;;) {
    const began = performance.now();
    if (!document.hidden) {
      const now = await ask().catch(() => null);
      if (now === null) showState("not reachable", false);
      else show(now);
    }
    await new Promise((resolve) => setTimeout(resolve, Math.max(100, EVERY_MS - (performance.now() - began))));
  }
}

run();
