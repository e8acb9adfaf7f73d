// Pages work without this. With it they stay up to date, charts have a cursor, and lists of tasks can be remembered.
"use strict";

const colours = {
  finished: "#207f20", running: "#47d147", activated: "#3b8e67", assigned: "#009999", defined: "#2174bb", pending: "#deb900",
  sent: "#deb900", starting: "#deb900", holding: "#ff9933", throttled: "#ff9933", merging: "#ff9933", cancelled: "#e67300",
  failed: "#ff0000", closed: "#4a4a4a", transferring: "#934fff",
};
const byOrder = ["#d1495b", "#edae49", "#00798c", "#66a182", "#2e4057", "#8d6bb8", "#a0522d", "#8a948c"];

function drawCharts() {
  if (!window.uPlot) return;
  for (const figure of document.querySelectorAll("figure[data-chart]:not([data-drawn])")) {
    const data = JSON.parse(figure.dataset.chart), kinds = Object.keys(data.series), svg = figure.querySelector("svg");
    if (!kinds.length || data.times.length < 2) continue;
    const sums = [], below = new Array(data.times.length).fill(0);
    for (const kind of kinds) {
      data.series[kind].forEach((value, place) => { below[place] += value; });
      sums.push([...below]);
    }
    const byPlace = figure.classList.contains("by-order");
    const colour = (kind, place) => (byPlace ? byOrder[place % byOrder.length] : colours[kind] || "#8a948c");
    const step = data.times[1] - data.times[0], first = data.times[0], last = data.times[data.times.length - 1] + step;
    const asTime = (seconds) => {
      const text = new Date(seconds * 1000).toISOString();
      return last - first > 2 * 86400 || text.slice(11, 16) === "00:00" ? text.slice(5, 10) : text.slice(11, 16);
    };
    const series = kinds.map((kind, place) => ({
      label: kind, stroke: colour(kind, place), fill: colour(kind, place), width: 0, points: { show: false },
      paths: uPlot.paths.bars({ size: [0.92], align: 1 }),
      value: (plot, shown, which, index) => (index === null ? "" : Math.round(data.series[kind][index] * 100) / 100),
    }));
    const text = getComputedStyle(document.body).color, line = getComputedStyle(document.body).getPropertyValue("--line");
    const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    const box = document.createElement("div");
    svg.replaceWith(box);
    for (const old of figure.querySelectorAll(".axis, .legend")) old.remove();
    const inUtc = (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC");
    // The highest sums are drawn first, so that each lower one covers what is not of its kind.
    new uPlot({
      width: figure.clientWidth, height: 190, tzDate: inUtc,
      series: [{ value: (plot, seconds) => (seconds === null ? "" : new Date(seconds * 1000).toISOString().slice(5, 16).replace("T", " ")) },
        ...series.reverse()],
      scales: { x: { range: (plot, low, high) => (high - low < last - first - step ? [low, high] : [first, last]) },
        y: { range: (plot, low, high) => [0, high || 1] } },
      axes: [{ ...axis, values: (plot, ticks) => ticks.map(asTime) }, { ...axis, size: 60 }],
    }, [data.times, ...sums.reverse()], box);
    figure.dataset.drawn = "yes";
  }
}

function stayUpToDate() {
  const main = document.querySelector("main[data-live]");
  if (!main || !window.htmx) return;
  const isBusy = () => document.hidden || main.contains(document.activeElement) && document.activeElement !== main
    || String(getSelection()).length > 0;
  const refresh = () => {
    if (isBusy()) return;
    const open = [...main.querySelectorAll("details")].map((one) => one.open);
    htmx.ajax("GET", location.href, { target: "#main", select: "#main > *", swap: "innerHTML" }).then(() => {
      [...main.querySelectorAll("details")].forEach((one, place) => { if (open[place] !== undefined) one.open = open[place]; });
      afterChange();
    });
  };
  setInterval(refresh, 1000 * Number(main.dataset.live));
  if (main.dataset.events && window.EventSource) {
    const source = new EventSource(main.dataset.events);
    let waiting = false;
    const soon = () => {
      if (waiting) return;
      waiting = true;
      setTimeout(() => { waiting = false; refresh(); }, 1000);
    };
    for (const kind of ["message", "task", "job", "step", "state"]) source.addEventListener(kind, soon);
    source.addEventListener("end", () => { source.close(); refresh(); });
    source.addEventListener("error", () => { if (source.readyState === EventSource.CLOSED) source.close(); });
  }
}

function followLog() {
  const log = document.querySelector("pre[data-log]:not([data-followed])");
  if (!log || !window.EventSource) return;
  log.dataset.followed = "yes";
  const source = new EventSource(log.dataset.log);
  let isFirst = true;
  const add = (event) => {
    const isAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 40;
    log.textContent = ((isFirst ? "" : log.textContent) + JSON.parse(event.data).text).slice(-100000);
    isFirst = false;
    if (isAtEnd) log.scrollTop = log.scrollHeight;
  };
  source.addEventListener("stdout", add);
  source.addEventListener("stderr", add);
  source.addEventListener("end", () => source.close());
}

function rememberViews() {
  for (const place of document.querySelectorAll("[data-saved]")) {
    if (place.childElementCount) continue;
    const key = `bamboo.views.${place.dataset.saved}`;
    const saved = () => JSON.parse(localStorage.getItem(key) || "[]");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Save this view";
    button.addEventListener("click", () => {
      const name = prompt("A name for this view");
      if (!name) return;
      localStorage.setItem(key, JSON.stringify([...saved().filter((one) => one.name !== name), { name, query: location.search }]));
      show();
    });
    const list = document.createElement("span");
    const show = () => {
      list.replaceChildren(...saved().map((one) => {
        const link = document.createElement("a");
        link.href = location.pathname + one.query;
        link.textContent = ` ${one.name} `;
        return link;
      }));
    };
    place.append(button, list);
    show();
  }
}

function afterChange() {
  drawCharts();
  rememberViews();
  followLog();
}

document.addEventListener("keydown", (event) => {
  const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
  if (event.key === "/" && !isTyping) {
    event.preventDefault();
    document.getElementById("q").focus();
  }
});
afterChange();
stayUpToDate();
