// Pages work without this. With it they stay up to date, charts have a cursor, and lists of tasks can be remembered.
"use strict";

const plots = [];

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
    const colours = [...figure.querySelectorAll(".swatch")].map((one) => getComputedStyle(one).backgroundColor);
    const step = data.times[1] - data.times[0], first = data.times[0], last = data.times[data.times.length - 1] + step;
    const asTime = (seconds) => {
      const text = new Date(seconds * 1000).toISOString();
      return last - first > 2 * 86400 || text.slice(11, 16) === "00:00" ? text.slice(5, 10) : text.slice(11, 16);
    };
    const series = kinds.map((kind, place) => ({
      label: kind, stroke: colours[place], fill: colours[place], width: 0, points: { show: false },
      paths: uPlot.paths.bars({ size: [0.92], align: 1 }),
      value: (plot, shown, which, index) => (index === null ? "" : Math.round(data.series[kind][index] * 100) / 100),
    }));
    const text = getComputedStyle(document.body).color, line = getComputedStyle(document.body).getPropertyValue("--line");
    const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    const box = document.createElement("div");
    svg.replaceWith(box);
    for (const old of figure.querySelectorAll(".axis, .legend, .most")) old.remove();
    const inUtc = (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC");
    // The highest sums are drawn first, so that each lower one covers what is not of its kind.
    plots.push(new uPlot({
      width: figure.clientWidth, height: 200, tzDate: inUtc,
      series: [{ label: "UTC", value: (plot, seconds) => (seconds === null ? "" : new Date(seconds * 1000).toISOString().slice(5, 16).replace("T", " ")) },
        ...series.reverse()],
      scales: { x: { range: (plot, low, high) => (high - low < last - first - step ? [low, high] : [first, last]) },
        y: { range: (plot, low, high) => [0, 1.05 * high || 1] } },
      axes: [{ ...axis, size: 34, values: (plot, ticks) => ticks.map(asTime) }, { ...axis, size: 48, space: 26 }],
    }, [data.times, ...sums.reverse()], box));
    figure.dataset.drawn = "yes";
  }
}

// What somebody has opened, scrolled or focused is found again by what it is called, wherever it is now.
const nameOf = (one) => [one.tagName, one.getAttribute("aria-label") || one.textContent, one.getAttribute("href")].join(" ");

function placeIn(main) {
  const all = (which, value) => new Map([...main.querySelectorAll(which)].map((one) => [nameOf(one), value(one)]));
  return {
    open: all("summary", (one) => one.parentElement.open),
    scrolled: all(".scroll, pre", (one) => [one.scrollLeft, one.scrollTop]),
    focused: main.contains(document.activeElement) ? nameOf(document.activeElement) : null,
    top: scrollY,
  };
}

function backTo(place, main) {
  for (const one of main.querySelectorAll("summary")) one.parentElement.open = place.open.get(nameOf(one)) ?? one.parentElement.open;
  for (const one of main.querySelectorAll(".scroll, pre")) [one.scrollLeft, one.scrollTop] = place.scrolled.get(nameOf(one)) || [0, 0];
  const focused = [...main.querySelectorAll("a, button, summary, [tabindex]")].find((one) => nameOf(one) === place.focused);
  if (focused) focused.focus({ preventScroll: true });
  scrollTo({ top: place.top, behavior: "instant" });
}

// Events of an address as they come, while somebody can see the page; later it goes on from the last one.
function follow(address, handlers) {
  if (!window.EventSource) return;
  let source = null, last = "", isOver = false;
  const open = () => {
    if (source || isOver || document.hidden) return;
    const url = new URL(address, location.href);
    if (last) url.searchParams.set("last_event_id", last);
    source = new EventSource(url);
    for (const [kind, handle] of Object.entries(handlers)) {
      source.addEventListener(kind, (event) => { last = event.lastEventId || last; handle(event); });
    }
    source.addEventListener("end", () => { isOver = true; close(); });
    source.addEventListener("error", () => {  // a server without room for streams may have some later
      if (source && source.readyState === EventSource.CLOSED) { close(); setTimeout(open, 30000); }
    });
  };
  const close = () => { if (source) source.close(); source = null; };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else open();
  });
  open();
}

function stayUpToDate() {
  const main = () => document.getElementById("main");
  if (!main().dataset.live || !window.htmx) return;
  const isBusy = () => document.hidden || String(getSelection()).length > 0
    || main().contains(document.activeElement) && /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
  let last = Date.now(), isAsking = false, place;
  const refresh = () => {
    if (isAsking || isBusy()) return;
    isAsking = true;
    htmx.ajax("GET", location.href, { target: "#main", select: "#main", swap: "outerHTML" })
      .finally(() => { isAsking = false; last = Date.now(); });
  };
  document.addEventListener("htmx:beforeSwap", (event) => { place = event.target.id === "main" ? placeIn(main()) : null; });
  document.addEventListener("htmx:afterSwap", () => {
    if (!place) return;
    for (const plot of plots.splice(0)) plot.destroy();
    afterChange();
    backTo(place, main());
    place = null;
  });
  setInterval(() => { if (Date.now() - last > 1000 * main().dataset.live) refresh(); }, 1000);
  if (main().dataset.events) {
    let isWaiting = false;
    // Of a large task something happens all the time: its page is asked for at most every five seconds.
    const soon = () => {
      if (isWaiting) return;
      isWaiting = true;
      setTimeout(() => { isWaiting = false; refresh(); }, Math.max(500, last + 5000 - Date.now()));
    };
    follow(main().dataset.events, { step: soon, state: soon, end: soon });
  }
}

function followLog() {
  const log = document.querySelector("pre[data-log]:not([data-followed])");
  if (!log) return;
  log.dataset.followed = "yes";
  const addTo = (shown) => {
    let isFirst = true;
    return (event) => {
      const isAtEnd = shown.scrollTop + shown.clientHeight >= shown.scrollHeight - 40;
      shown.textContent = ((isFirst ? "" : shown.textContent) + JSON.parse(event.data).text).slice(-100000);
      isFirst = false;
      if (isAtEnd) shown.scrollTop = shown.scrollHeight;
    };
  };
  follow(log.dataset.log, { stdout: addTo(log), stderr: addTo(document.getElementById("log-of-errors")) });
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

// What cannot be undone is asked about.
document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (button && button.classList.contains("danger") && !confirm(`${button.textContent}: ${button.title}?`)) event.preventDefault();
});

document.addEventListener("keydown", (event) => {
  const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
  if (event.key === "/" && !isTyping) {
    event.preventDefault();
    document.getElementById("q").focus();
  }
});
addEventListener("resize", () => {
  for (const plot of plots) plot.setSize({ width: plot.root.closest("figure").clientWidth, height: plot.height });
});
const here = document.querySelector("header [aria-current]");
if (here) here.closest("ul").scrollLeft = here.offsetLeft - here.closest("ul").clientWidth / 2;
for (const log of document.querySelectorAll("#log, #log-of-errors")) log.scrollTop = log.scrollHeight;
afterChange();
stayUpToDate();
