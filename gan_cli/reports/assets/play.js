"use strict";
// The page of a generator: samples, a picture on its way between two of them, directions. Workers run the graph.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = id => document.getElementById(id);
  const [channels, height, width] = data.image_shape, SAMPLES = 16, STEPS = 20;

  // Workers that hold the generator. A job waits under a name; a later job of that name takes its place.
  const source = at("script-runtime").textContent + `
    let run = null;
    onmessage = ({ data: { graph, bytes, inputs, id } }) => {
      if (graph) run = runtime.load(graph, bytes);
      else postMessage({ id, image: run(inputs).slice() });
    };`;
  const bytes = Uint8Array.from(atob(at("weights").textContent), c => c.charCodeAt(0)).buffer;
  const waiting = new Map(), idle = [], running = new Map();
  let here = null, jobs = 0;

  function begin() {
    const several = Math.max(1, Math.min(4, navigator.hardwareConcurrency || 2));
    try {
      const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      for (let i = 0; i < several; i++) idle.push(started(url));
    } catch {
      alone();
    }
  }

  function started(url) {
    const worker = new Worker(url);
    worker.postMessage({ graph: data.graph, bytes });
    worker.onerror = alone;
    worker.onmessage = ({ data: { id, image } }) => {
      const { done } = running.get(id);
      running.delete(id);
      idle.push(worker);
      next();
      done(image);
    };
    return worker;
  }

  function alone() {  // a browser that has no workers for a file: the page itself computes
    here ??= runtime.load(data.graph, bytes);
    for (const [id, job] of running) waiting.set(`again ${id}`, job);
    running.clear();
    idle.splice(0);
    next();
  }

  function next() {
    const name = waiting.has("picture") ? "picture" : waiting.keys().next().value;
    if (name === undefined || (!here && !idle.length)) return;
    const job = waiting.get(name), id = jobs++;
    waiting.delete(name);
    if (here) setTimeout(() => { job.done(here(job.inputs).slice()); next(); });
    else {
      running.set(id, job);
      idle.pop().postMessage({ inputs: job.inputs, id });
    }
  }

  const compute = (name, inputs) => new Promise(done => { waiting.set(name, { inputs, done }); next(); });

  // The inputs of the graph for a latent, a class and psi; `move` is a step in w.
  const still = new Float32Array(data.z_dim);
  const inputsOf = (latents, label, truncation, move = still) => {
    const all = { latents, labels: label ?? 0, truncation, moves: move };
    return Object.fromEntries(data.graph.inputs.map(([name]) => [name, all[name]]));
  };

  // Pixels from -1 to 1, [C, H, W], as RGBA bytes.
  function pixels(image) {
    const found = new ImageData(width, height), n = width * height;
    const level = (channel, i) => Math.round(Math.min(1, Math.max(-1, image[channel * n + i])) * 127.5 + 127.5);
    for (let i = 0; i < n; i++) {
      for (let c = 0; c < 3; c++) found.data[4 * i + c] = level(channels > 2 ? c : 0, i);
      found.data[4 * i + 3] = channels === 4 ? level(3, i) : 255;
    }
    return found;
  }

  // Numbers from 0 to 1, of a seed (mulberry32), and latents of them: the same quantiles of the truncated prior.
  function numbers(seed) {
    let state = seed >>> 0;
    return () => {
      state = state + 0x6d2b79f5 | 0;
      let t = Math.imul(state ^ state >>> 15, 1 | state);
      t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
      return (((t ^ t >>> 14) >>> 0) + 0.5) / 2 ** 32;
    };
  }

  // The quantile of the standard normal distribution: P. J. Acklam's rational approximation, to 1e-9.
  function quantile(p) {
    const ratio = (x, up, down) => up.reduce((y, c) => y * x + c, 0) / (down.reduce((y, c) => y * x + c, 0) * x + 1);
    const tail = x => ratio(Math.sqrt(-2 * Math.log(x)), [-7.784894002430293e-3, -0.3223964580411365,
      -2.400758277161838, -2.549732539343734, 4.374664141464968, 2.938163982698783], [7.784695709041462e-3,
      0.3224671290700398, 2.445134137142996, 3.754408661907416]);
    if (p < 0.02425) return tail(p);
    if (p > 1 - 0.02425) return -tail(1 - p);
    return (p - 0.5) * ratio((p - 0.5) ** 2, [-39.69683028665376, 220.9460984245205, -275.9285104469687,
      138.357751867269, -30.66479806614716, 2.506628277459239], [-54.47609879822406, 161.5858368580409,
      -155.6989798598866, 66.80131188771972, -13.28068155288572]);
  }

  function latentOf(u) {
    const step = Number(at("truncation").value), psi = step / STEPS, outside = data.mapped ? 0 : data.outside[step];
    if (data.prior === "uniform") return Float32Array.from(u, x => (2 * x - 1) * Math.sqrt(3) * (data.mapped ? 1 : psi));
    if (!data.mapped && step === 0) return still;
    return Float32Array.from(u, x => quantile(outside + x * (1 - 2 * outside)));
  }

  // The way from a to b: along the great circle for a normal prior (White 2016), straight for a uniform one.
  function between(a, b, t) {
    const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
    const cosine = dot(a, b) / (Math.sqrt(dot(a, a) * dot(b, b)) || 1);
    const angle = Math.acos(Math.min(1, Math.max(-1, cosine))), bent = data.prior === "normal" && Math.sin(angle) > 1e-4;
    const [p, q] = bent ? [Math.sin((1 - t) * angle), Math.sin(t * angle)].map(x => x / Math.sin(angle)) : [1 - t, t];
    return a.map((x, i) => p * x + q * b[i]);
  }

  // What is shown: the samples' numbers, the ends of the way, the class (null for all of them in turn).
  const state = { samples: [], ends: [0, 1], chosen: null };
  const label = i => data.classes.length ? state.chosen ?? i % data.classes.length : null;
  const psi = () => Number(at("truncation").value) / STEPS;
  const sliders = () => [...document.querySelectorAll("#directions input")];

  function moved() {
    const move = new Float32Array(data.z_dim);
    sliders().forEach((slider, k) => {
      const by = Number(slider.value) * data.directions.deviations[k];
      data.directions.vectors[k].forEach((x, i) => { move[i] += by * x; });
    });
    return move;
  }

  const asked = { picture: 0, samples: 0 };  // jobs so far

  async function drawPicture() {
    const t = Number(at("mix").value) / 100, [a, b] = state.ends;
    const z = between(latentOf(state.samples[a]), latentOf(state.samples[b]), t), move = moved();
    const inputs = data.mapped ? inputsOf(z, label(t < 0.5 ? a : b), psi(), move)
      : inputsOf(z.map((x, i) => x + move[i]), label(t < 0.5 ? a : b), psi());
    const told = `${t === 0 ? `sample ${a + 1}` : t === 1 ? `sample ${b + 1}` : `${Math.round(100 * t)}% of the way from `
      + `sample ${a + 1} to sample ${b + 1}`}${data.classes.length ? `, class ${data.classes[label(t < 0.5 ? a : b)]}` : ""}`;
    const mine = ++asked.picture;
    const image = await compute("picture", inputs);
    if (mine !== asked.picture) return;  // a later job has begun: several workers draw at a time
    at("picture").getContext("2d").putImageData(pixels(image), 0, 0);
    at("picture").setAttribute("aria-label", told);
    at("told").textContent = told;
    document.documentElement.dataset.ready = "true";
  }

  function drawSamples() {
    const mine = ++asked.samples;
    tiles.forEach(async (tile, i) => {
      const truncation = psi();
      const image = await compute(`sample ${i}`, inputsOf(latentOf(state.samples[i]), label(i), truncation));
      if (mine !== asked.samples) return;
      tile.querySelector("canvas").getContext("2d").putImageData(pixels(image), 0, 0);
      tile.dataset.drawn = truncation;
    });
  }

  function drawAll() {
    drawPicture();
    drawSamples();
  }

  function renew(seed) {
    at("seed").value = seed;
    const draw = numbers(seed);
    state.samples = Array.from({ length: SAMPLES }, () => Float64Array.from({ length: data.z_dim }, draw));
    drawAll();
  }

  function mark() {
    tiles.forEach((tile, i) => {
      const names = ["A", "B"].filter((_, end) => state.ends[end] === i).join(" ");
      tile.querySelector("span").textContent = names;
      tile.setAttribute("aria-label", [`sample ${i + 1}`, names && `end ${names}`].filter(Boolean).join(", "));
    });
  }

  // A press of a sample makes it an end of the way, and shows it.
  function take(i) {
    const end = at("end-b").checked ? 1 : 0;
    state.ends[end] = i;
    at("mix").value = 100 * end;
    mark();
    drawPicture();
  }

  function save(canvas, name) {
    canvas.toBlob(blob => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }

  // Canvases side by side, each pixel enlarged to a square.
  function sheet(canvases, columns, scale) {
    const found = document.createElement("canvas"), pen = found.getContext("2d");
    found.width = columns * width * scale;
    found.height = Math.ceil(canvases.length / columns) * height * scale;
    pen.imageSmoothingEnabled = false;
    canvases.forEach((canvas, i) => pen.drawImage(canvas, i % columns * width * scale,
      Math.floor(i / columns) * height * scale, width * scale, height * scale));
    return found;
  }

  const scale = Math.max(1, Math.floor(512 / height));
  const savePicture = () => save(sheet([at("picture")], 1, scale), "picture.png");
  const fresh = () => renew(Math.floor(Math.random() * 1e6));

  const tiles = Array.from({ length: SAMPLES }, (_, i) => {
    const tile = document.createElement("button"), canvas = document.createElement("canvas");
    tile.type = "button";
    tile.tabIndex = i ? -1 : 0;
    canvas.width = width;
    canvas.height = height;
    tile.append(canvas, document.createElement("span"));
    tile.addEventListener("click", () => take(i));
    tile.addEventListener("focus", () => tiles.forEach(other => { other.tabIndex = other === tile ? 0 : -1; }));
    return tile;
  });
  at("samples").append(...tiles);
  at("samples").addEventListener("keydown", event => {
    const i = tiles.indexOf(document.activeElement), columns = getComputedStyle(at("samples")).gridTemplateColumns
      .split(" ").length, moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const to = event.key === "Home" ? 0 : event.key === "End" ? SAMPLES - 1 : i + moves[event.key];
    if (i < 0 || !tiles[to]) return;
    tiles[to].focus();
    event.preventDefault();
  });

  (data.directions?.vectors ?? []).forEach((_, k) => {
    const line = document.createElement("label"), slider = document.createElement("input");
    const shown = document.createElement("output");
    Object.assign(slider, { type: "range", min: -3, max: 3, step: 0.1, value: 0 });
    shown.textContent = "0.0";
    slider.addEventListener("input", () => { shown.textContent = Number(slider.value).toFixed(1); drawPicture(); });
    line.append(`${k + 1}`, slider, shown);
    slider.setAttribute("aria-label", `direction ${k + 1}, in standard deviations`);
    at("directions").append(line);
  });
  at("level").addEventListener("click", () => {
    sliders().forEach(slider => { slider.value = 0; slider.nextSibling.textContent = "0.0"; });
    drawPicture();
  });

  for (const button of document.querySelectorAll("#classes button"))
    button.addEventListener("click", () => {
      state.chosen = button.dataset.class === "" ? null : Number(button.dataset.class);
      for (const other of document.querySelectorAll("#classes button"))
        other.setAttribute("aria-pressed", String(other === button));
      drawAll();
    });

  at("truncation").addEventListener("input", () => { at("psi").textContent = psi().toFixed(2); drawAll(); });
  at("mix").addEventListener("input", drawPicture);
  at("seed").addEventListener("change", () => renew(Math.abs(Math.trunc(Number(at("seed").value))) || 0));
  at("fresh").addEventListener("click", fresh);
  at("save").addEventListener("click", savePicture);
  at("save-all").addEventListener("click", () =>
    save(sheet(tiles.map(tile => tile.querySelector("canvas")), 4, Math.max(1, Math.floor(128 / height))), "samples.png"));
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=number]")) return;
    const keys = { n: fresh, s: savePicture, a: () => at("end-a").click(), b: () => at("end-b").click(),
      0: () => at("level").click() };
    if (keys[event.key]) keys[event.key]();
  });

  // For other scripts: the images, RGBA bytes [H, W, 4], of latents, a class and psi.
  window.player = { image: async (latents, label = null, truncation = 1) =>
    pixels(await compute(`asked ${jobs++}`, inputsOf(Float32Array.from(latents), label, truncation))).data };

  at("picture").width = width;
  at("picture").height = height;
  begin();
  mark();
  renew(0);
  followTheme();
})();
