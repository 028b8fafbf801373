// The plain live page: one WebSocket, reconnects by itself, and says how old what it shows is.
// Prices come in micro-currency per kWh (10 000 = 1 ct), money in nano-currency, power positive into the home.

const TOPICS = ["grid", "curve", "homes", "auctions", "headers", "alarms"];
const LONGEST_PAUSE_MS = 15000;
const STALE_AFTER_S = 900;
const SVG = "http://www.w3.org/2000/svg";
const by = (id) => document.getElementById(id);
const absent = "–";
let tariff = null;
let curve = [];
let lastFrameAt = 0;

const cents = (micro) => (micro === null || micro === undefined ? absent : (micro / 10000).toFixed(2));
const volts = (mv) => (mv === null || mv === undefined ? absent : `${(mv / 1000).toFixed(1)} V`);
const money = (nano) => `${(nano / 1e9).toFixed(2)} €`;
const clock = (s) => new Date(s * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

function power(w) {
  if (w === null || w === undefined) return absent;
  return Math.abs(w) < 1000 ? `${w} W` : `${(w / 1000).toFixed(2)} kW`;
}

function age(s) {
  if (s === null || s === undefined) return "never";
  if (s < 120) return `${s} s`;
  return s < 7200 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`;
}

function cell(text, options = {}) {
  const td = document.createElement(options.head ? "th" : "td");
  if (options.head) td.scope = "row";
  td.textContent = text;
  td.className = [options.number ? "number" : "", options.stale ? "stale" : ""].join(" ").trim();
  return td;
}

function rows(id, entries, make, columns) {
  const body = by(id);
  const made = entries.map((entry) => {
    const tr = document.createElement("tr");
    tr.append(...make(entry));
    return tr;
  });
  if (!made.length) {
    const tr = document.createElement("tr");
    const td = cell("none yet");
    td.colSpan = columns;
    tr.append(td);
    made.push(tr);
  }
  body.replaceChildren(...made);
}

function draw(id, series, low, high, label) {
  const svg = by(id);
  const width = svg.clientWidth || 720;
  svg.setAttribute("viewBox", `0 0 ${width} 144`);
  const children = [];
  const points = series[0].values.length;
  const make = (name, attributes, text) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    children.push(node);
  };
  const y = (value) => 134 - (116 * (value - low)) / Math.max(1, high - low);
  for (const level of [low, (low + high) / 2, high]) {
    make("line", { class: "axis", x1: 0, x2: width, y1: y(level), y2: y(level) });
    make("text", { x: 2, y: y(level) - 3 }, label(level));
  }
  for (const { name, values } of series) {
    if (points < 2) break;
    const step = width / (points - 1);
    const path = values.map((v, i) => `${i ? "L" : "M"}${(i * step).toFixed(1)} ${y(v).toFixed(1)}`).join("");
    make("path", { class: name, d: path });
  }
  svg.replaceChildren(...children);
}

function drawCurves() {
  const prices = curve.map((p) => p.price);
  const [low, high] = tariff ?? [Math.min(...prices, 0), Math.max(...prices, 1)];
  draw("price-curve", [{ name: "price", values: prices }], low, high, (v) => `${cents(v)} ct`);
  const demand = curve.map((p) => p.demand_w);
  const supply = curve.map((p) => p.supply_w);
  const top = Math.max(1000, ...demand, ...supply);
  const series = [{ name: "demand", values: demand }, { name: "supply", values: supply }];
  draw("power-curve", series, 0, top, (v) => power(Math.round(v)));
}

const show = {
  grid(value) {
    tariff = [value.tariff_export, value.tariff_import];
    by("feeder").textContent = value.feeder;
    by("price").textContent = cents(value.price);
    by("price-note").textContent =
      value.price === null
        ? "no settled interval yet"
        : `interval from ${clock(value.price_interval * 900)}; feed-in ${cents(tariff[0])}, retail ${cents(tariff[1])} ct/kWh`;
    by("demand").textContent = value.homes ? power(value.demand_w) : absent;
    by("supply").textContent = value.homes ? power(value.supply_w) : absent;
    by("net").textContent = value.homes ? power(value.net_w) : absent;
    by("frequency").textContent = value.frequency_mhz ? `${(value.frequency_mhz / 1000).toFixed(3)} Hz` : absent;
    by("voltage").textContent = value.lowest_voltage_mv
      ? `${volts(value.lowest_voltage_mv)} – ${volts(value.highest_voltage_mv)}`
      : absent;
    drawCurves();
  },
  curve(points) {
    curve = points;
    drawCurves();
  },
  homes(homes) {
    rows("homes", homes, (home) => [
      cell(home.edge, { head: true }),
      cell(power(home.power_w), { number: true }),
      cell(volts(home.voltage_mv), { number: true }),
      cell(age(home.age_s), { number: true, stale: home.age_s === null || home.age_s > STALE_AFTER_S }),
      cell(money(home.result_nano), { number: true }),
    ], 5);
  },
  auctions(auctions) {
    rows("auctions", auctions, (a) => [
      cell(clock(a.start_s), { head: true }),
      cell(a.rule === "FORWARD" ? `${a.length * 15} min` : "spot"),
      cell(cents(a.price), { number: true }),
      cell(`${a.volume_wh} Wh`, { number: true }),
    ], 4);
  },
  headers(headers) {
    rows("headers", headers, (h) => {
      const record = cell("");
      const link = document.createElement("a");
      link.href = `/api/v1/batches/${h.interval}`;
      link.textContent = `${h.digest.slice(0, 10)}…`;
      record.append(link);
      return [
        cell(clock(h.interval * 900), { head: true }),
        cell(h.state, { stale: h.state === "voided" }),
        cell(h.gas ?? absent, { number: true }),
        record,
      ];
    }, 4);
  },
  alarms(alarms) {
    const items = alarms.map((a) => {
      const li = document.createElement("li");
      li.className = "stale";
      li.textContent = `${clock(a.at_s)} ${a.code}: ${a.text}`;
      return li;
    });
    if (!items.length) {
      const li = document.createElement("li");
      li.className = "muted";
      li.textContent = "none";
      items.push(li);
    }
    by("alarms").replaceChildren(...items);
  },
};

function state(name, text) {
  const node = by("connection");
  if (node.dataset.state !== name || node.textContent !== text) {
    node.dataset.state = name;
    node.textContent = text;
  }
}

function connect(pause) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}/api/v1/ws`);
  socket.onopen = () => {
    pause = 500;
    state("live", "live");
    socket.send(JSON.stringify({ subscribe: TOPICS }));
  };
  socket.onmessage = (event) => {
    lastFrameAt = Date.now();
    const frame = JSON.parse(event.data);
    show[frame.topic](frame.value);
  };
  socket.onclose = () => {
    const seconds = Math.round((Date.now() - lastFrameAt) / 1000);
    state("lost", lastFrameAt ? `connection lost; values are ${age(seconds)} old` : "not reachable; trying again");
    setTimeout(() => connect(Math.min(pause * 2, LONGEST_PAUSE_MS)), pause);
  };
}

addEventListener("resize", drawCurves);
connect(500);
