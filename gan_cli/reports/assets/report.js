"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = id => document.getElementById(id);
  const root = document.documentElement;

  const DASHES = [[], [8, 4], [2, 3], [12, 3, 2, 3]];
  const plots = [];
  const color = name => getComputedStyle(root).getPropertyValue(name).trim();

  // Numbers of axes and legends.
  const shown = value => value === null || value === undefined ? "–"
    : value === 0 ? "0" : Math.abs(value) >= 1e6 || Math.abs(value) < 1e-3 ? value.toExponential(2)
    : String(Number(value.toPrecision(4)));
  const ticks = (plot, values) => values.map(value => value === null ? "" : Math.abs(value) >= 1e6
    ? value / 1e6 + "M" : Math.abs(value) >= 1e4 ? value / 1e3 + "k" : Math.abs(value) < 1e-3 && value !== 0
    ? value.toExponential(0) : String(Number(value.toPrecision(6))));

  function smoothed(values, weight) {
    let mean = 0, mass = 0;
    return values.map(value => {
      if (value === null || !weight) return value;
      mean = weight * mean + (1 - weight) * value;
      mass = weight * mass + 1 - weight;
      return mean / mass;
    });
  }

  function chosen() {  // on a page of several runs: one chart, of the number that is chosen
    const metric = at("metric");
    return metric ? [data.charts[metric.selectedIndex]] : data.charts || [];
  }

  function drawOne(chart, box, log, weight, range) {
    const lines = chart.series.map(series => {
      const values = smoothed(series.values, weight);
      return log ? values.map(value => value !== null && value > 0 ? value : null) : values;
    });
    const axis = { stroke: color("--soft"), grid: { stroke: color("--grid"), width: 1 },
      ticks: { stroke: color("--grid"), width: 1 }, values: ticks };
    const style = i => ({ color: color("--c" + i % 6), dash: DASHES[(i + Math.floor(i / 6)) % DASHES.length] });
    const plot = new uPlot({
      width: Math.max(240, Math.floor(box.clientWidth)), height: 260,
      scales: { x: { time: false }, y: { distr: log ? 3 : 1 } },
      axes: [{ ...axis }, { ...axis, size: 62 }],
      cursor: { sync: { key: "steps" }, drag: { x: true, y: false } },
      legend: { markers: { width: 3, dash: (u, i) => ["solid", "dashed", "dotted", "dashed"][
        DASHES.indexOf(style(i - 1).dash)] } },
      series: [{ label: "step", value: (u, value) => shown(value) }, ...chart.series.map((series, i) => ({
        label: series.label, stroke: style(i).color, width: 2, dash: style(i).dash, spanGaps: true,
        points: { show: chart.steps.length < 30, size: 6 }, value: (u, value) => shown(value) }))],
      hooks: { setScale: [(u, key) => { if (key === "x") follow(u); }] },
    }, [chart.steps, ...lines], box);
    if (range) plot.setScale("x", range);
    plots.push(plot);
  }

  let following = false;
  function follow(plot) {  // a zoom of one chart is a zoom of all
    if (following || plot.status !== 1) return;
    following = true;
    const { min, max } = plot.scales.x;
    for (const other of plots) if (other !== plot) other.setScale("x", { min, max });
    following = false;
  }

  const whole = chart => ({ min: chart.steps[0], max: chart.steps[chart.steps.length - 1] });

  function draw(keep = true) {
    const place = at("charts");
    if (!place) return;
    const was = keep && plots.length ? { ...plots[0].scales.x } : null;
    plots.splice(0).forEach(plot => plot.destroy());
    place.replaceChildren();
    const log = at("log").checked, weight = Number(at("smooth").value);
    at("smoothed").textContent = weight.toFixed(2);
    const boxes = chosen().map(chart => {
      const box = document.createElement("div"), title = document.createElement("h3"),
        note = document.createElement("p");
      box.className = "chart";
      title.textContent = chart.title;
      note.className = "note";
      note.textContent = chart.note || " ";
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", describe(chart));
      box.append(title, note);
      return box;
    });
    place.append(...boxes);  // all of them before the first is drawn, as they share the width
    following = true;
    chosen().forEach((chart, i) => drawOne(chart, boxes[i], log, weight, was && { min: was.min, max: was.max }));
    following = false;
  }

  function describe(chart) {
    const ends = chart.series.map(series => {
      const values = series.values.filter(value => value !== null);
      return `${series.label} from ${shown(values[0])} to ${shown(values[values.length - 1])}`;
    });
    const { min, max } = whole(chart);
    return `${chart.title}, step ${min} to ${max}: ${ends.slice(0, 12).join("; ")}`;
  }

  // The samples: a slider over the steps, keys, and a film.
  const time = at("time");
  if (time) {
    at("player").hidden = false;
    const show = i => {
      const frame = data.frames[i];
      time.value = i;
      time.setAttribute("aria-valuetext", "step " + frame.step);
      const image = at("frame");
      image.src = frame.uri;
      image.width = frame.width;
      image.height = frame.height;
      image.alt = "Samples at step " + frame.step;
      at("step").textContent = frame.step.toLocaleString("en");
    };
    const last = data.frames.length - 1;
    let timer = null;
    const stop = () => { clearInterval(timer); timer = null; at("play").textContent = "play";
      at("play").setAttribute("aria-pressed", "false"); };
    const play = () => {
      if (timer) return stop();
      if (Number(time.value) === last) show(0);
      at("play").textContent = "pause";
      at("play").setAttribute("aria-pressed", "true");
      timer = setInterval(() => Number(time.value) < last ? show(Number(time.value) + 1) : stop(), 200);
    };
    time.addEventListener("input", () => { stop(); show(Number(time.value)); });
    at("play").addEventListener("click", play);
    document.addEventListener("keydown", event => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const target = event.target;
      if (target !== time && target.matches("input, button, select, summary, a, [tabindex]")) return;
      const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
      if (event.key === " ") play();
      else if (event.key in moves) {
        stop();
        show(Math.min(last, Math.max(0, Number(time.value) + moves[event.key])));
      } else return;
      event.preventDefault();
    });
    show(last);
  }

  // The tools of the curves.
  if (at("charts")) {
    at("tools").hidden = false;
    at("log").addEventListener("change", () => draw());
    at("smooth").addEventListener("input", () => draw());
    at("reset").addEventListener("click", () => draw(false));
    const metric = at("metric");
    if (metric) {
      for (const chart of data.charts) metric.append(new Option(chart.title));
      metric.addEventListener("change", () => draw(false));
    }
    let width = innerWidth;
    addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); } });
  }

  // The page of a run that is going on loads itself again, and keeps its place: what was chosen stands in the address.
  const kept = new URLSearchParams(location.hash.slice(1));
  if (at("charts")) {
    if (kept.has("smooth")) at("smooth").value = kept.get("smooth");
    if (kept.get("log") === "true") at("log").checked = true;
  }
  if (kept.has("step") && time) {
    const i = data.frames.findIndex(frame => String(frame.step) === kept.get("step"));
    if (i >= 0) { time.value = i; time.dispatchEvent(new Event("input")); }
  }
  if (data.refresh) {
    setTimeout(() => {
      const now = new URLSearchParams({ y: scrollY });
      if (plots.length) {
        now.set("log", at("log").checked);
        now.set("smooth", at("smooth").value);
        const { min, max } = plots[0].scales.x, all = whole(chosen()[0]);
        if (min > all.min || max < all.max) { now.set("min", min); now.set("max", max); }
      }
      if (time && Number(time.value) < data.frames.length - 1) now.set("step", data.frames[time.value].step);
      if (root.dataset.chosen) now.set("theme", root.dataset.theme);
      location.hash = now;
      location.reload();
    }, 1000 * data.refresh);
  }

  for (const button of document.querySelectorAll(".copy"))
    button.addEventListener("click", () => {
      const text = button.parentElement.querySelector("code").textContent;
      const done = () => { button.textContent = "copied"; setTimeout(() => { button.textContent = "copy"; }, 1500); };
      if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => {});
      else { getSelection().selectAllChildren(button.parentElement.querySelector("code")); done(); }
    });

  for (const head of document.querySelectorAll(".sortable th")) {
    head.querySelector("button").addEventListener("click", () => {
      const table = head.closest("table"), body = table.tBodies[0], i = head.cellIndex;
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = row => row.cells[i].dataset.value;
      const rank = (a, b) => {
        const x = value(a), y = value(b);
        if (x === "" || y === "") return (x === "") - (y === "");  // cells without a number come last
        const difference = isNaN(x) || isNaN(y) ? x.localeCompare(y, "en", { numeric: true }) : x - y;
        return down ? -difference : difference;
      };
      [...body.rows].sort(rank).forEach(row => body.append(row));
    });
  }

  followTheme(() => draw(), kept.has("theme") ? kept.get("theme") === "dark" : null);
  if (kept.has("min") && plots.length) plots[0].setScale("x", { min: Number(kept.get("min")), max: Number(kept.get("max")) });
  if (kept.has("y")) scrollTo(0, Number(kept.get("y")));
  root.dataset.ready = "true";
})();
