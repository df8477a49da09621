// The report's own script, a part of the module that brings DataTables. Texts are written as text, never as HTML.

const $ = (id) => document.getElementById(id);
const { palettes, shelves } = JSON.parse($("data").textContent);

/** An element with attributes and children; strings become text. */
function make(tag, attributes = {}, ...children) {
  const space = ["svg", "path", "text", "line"].includes(tag) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const element = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== false) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A name that may be broken after underscores. */
const breakable = (name) => name.split(/(?<=_)/).flatMap((part, place) => (place ? [make("wbr"), part] : [part]));

// -- tables ------------------------------------------------------------------------------------------------------------

const bare = { paging: false, info: false, autoWidth: false, order: [], layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null } };
const filters = { model: "", dataset: "", method: "", sentinel: true };
// Cells without a number come last in both directions.
for (const [name, sign] of [["asc", 1], ["desc", -1]])
  DataTable.ext.type.order[`score-${name}`] = (a, b) => (a === "") - (b === "") || sign * (a - b);
const boards = [...document.querySelectorAll("table.leaderboard")].map((element) => {
  const scores = [...element.tHead.rows[0].cells].map((_, place) => place).slice(1);
  const columnDefs = [{ targets: "_all", orderSequence: ["asc", "desc", ""] }, { targets: scores, type: "score" }];
  const table = new DataTable(element, { ...bare, columnDefs });
  table.search.fixed("filters", (_text, _data, index) => {
    const row = table.row(index).node();
    return (filters.sentinel || row.dataset.sentinel !== "1") && row.cells[0].textContent.toLowerCase().includes(filters.method);
  });
  return { element, table };
});
for (const element of document.querySelectorAll("table.plain")) new DataTable(element, { ...bare });

function filterBoards() {
  for (const part of document.querySelectorAll("[data-model][data-dataset]"))
    part.hidden = ["model", "dataset"].some((name) => filters[name] && part.dataset[name] !== filters[name]);
  const hidden = new Set([...document.querySelectorAll("input[data-family]:not(:checked)")].map((box) => box.dataset.family));
  for (const { table } of boards) {
    table.columns().every(function () {
      const family = this.header().dataset.family;
      if (family) this.visible(!hidden.has(family), false);
    });
    table.draw();
  }
}
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("input", ({ target }) => {
  const name = target.dataset.filter;
  if (name) filters[name] = target.type === "checkbox" ? target.checked : name === "method" ? target.value.trim().toLowerCase() : target.value;
  filterBoards();
});

// -- pictures ----------------------------------------------------------------------------------------------------------

const colors = Object.fromEntries(Object.entries(palettes).map(([name, hex]) => [name, hex.match(/../g).map((pair) => parseInt(pair, 16))]));
const pictures = new Map();

/** A picture that has been read, from its bytes in base 64. */
function picture(source) {
  if (!pictures.has(source)) {
    const image = new Image();
    image.src = `data:image/webp;base64,${source}`;
    pictures.set(source, image.decode().then(() => image));
  }
  return pictures.get(source);
}

function canvasOf(width, height) {
  const canvas = make("canvas", { width, height });
  return [canvas, canvas.getContext("2d", { willReadFrequently: true })];
}

/** A gray map in its colors. */
async function colored(map) {
  const image = await picture(map.src);
  const [canvas, context] = canvasOf(image.naturalWidth, image.naturalHeight);
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const table = colors[map.signed ? "signed" : "unsigned"];
  for (let at = 0; at < pixels.data.length; at += 4) {
    const color = 3 * pixels.data[at];
    for (let channel = 0; channel < 3; channel++) pixels.data[at + channel] = table[color + channel];
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** The border of a mask, white with a dark rim. */
async function outlined(source) {
  const image = await picture(source);
  const [canvas, context] = canvasOf(image.naturalWidth, image.naturalHeight);
  context.drawImage(image, 0, 0);
  const { width, height } = canvas;
  const pixels = context.getImageData(0, 0, width, height);
  const inside = Array.from({ length: width * height }, (_, place) => pixels.data[4 * place] > 127);
  const differs = (place, by, same) => same && inside[place + by] !== inside[place];
  for (let place = 0; place < inside.length; place++) {
    const x = place % width, y = (place - x) / width;
    const edge = differs(place, 1, x < width - 1) || differs(place, -1, x > 0) || differs(place, width, y < height - 1) || differs(place, -width, y > 0);
    const shade = inside[place] ? 255 : 0;
    pixels.data.set([shade, shade, shade, edge ? 255 : 0], 4 * place);
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** Fills the patches of a photo that are gone with what stands in their place. */
function removePatches(context, sample, view, order, gone, replacement) {
  const { width, height } = context.canvas;
  const [rows, columns] = sample.grids[view.order];
  // A pixel y belongs to the patch floor(y * rows / height), so a patch begins at ceil(row * height / rows).
  const edge = (place, parts, side, size) => (Math.ceil((place * side) / parts) / side) * size;
  order.forEach((rank, patch) => {
    if (!gone(rank)) return;
    const row = Math.floor(patch / columns), column = patch % columns;
    const left = edge(column, columns, sample.size[1], width), right = edge(column + 1, columns, sample.size[1], width);
    const top = edge(row, rows, sample.size[0], height), bottom = edge(row + 1, rows, sample.size[0], height);
    if (replacement instanceof Image) {
      const across = replacement.naturalWidth / width, down = replacement.naturalHeight / height;
      context.drawImage(replacement, left * across, top * down, (right - left) * across, (bottom - top) * down, left, top, right - left, bottom - top);
    } else {
      context.fillStyle = replacement;
      context.fillRect(left, top, right - left, bottom - top);
    }
  });
}

// -- samples -----------------------------------------------------------------------------------------------------------

const state = { shelf: 0, order: [], at: 0, drawing: 0, strong: null };
const look = (method) => ({ stroke: method.color, "stroke-dasharray": method.dashes || null });
const shelf = () => shelves[state.shelf];
const sample = () => shelf().samples[state.order[state.at]];
const view = () => shelf().views[$("view").value];
const isText = (one) => one.photo === undefined;

function options(select, entries) {
  select.replaceChildren(...entries.map(([value, text]) => make("option", { value }, text)));
}

function openShelf() {
  const { metrics, methods, views } = shelf();
  options($("by"), [["", "name"], ...metrics.map(([name]) => [name, name])]);
  options($("of"), [["", "all methods (mean)"], ...methods.map(({ name }) => [name, name])]);
  options($("view"), views.map((one, index) => [index, one.metric || `${one.direction} (not scored)`]));
  fillStrip();
}

/** What samples are ordered by: a score of a method, or the mean over all that know the model. */
function valueOf(one) {
  const metric = $("by").value, method = $("of").value;
  if (!metric) return null;
  return (method ? one.scores[metric]?.[method]?.[0] : shelf().means[metric]?.[one.name]) ?? null;
}

function fillStrip(kept = null) {
  const { samples, metrics } = shelf(), metric = $("by").value;
  $("of").disabled = !metric;
  $("worst").disabled = !metric;
  const higher = metrics.find(([name]) => name === metric)?.[1] ?? true;
  const sign = higher !== $("worst").checked ? -1 : 1;
  const values = samples.map(valueOf);
  state.order = samples.map((_, index) => index);
  if (metric) state.order.sort((a, b) => (values[a] === null) - (values[b] === null) || sign * (values[a] - values[b]) || a - b);
  state.at = Math.max(0, state.order.indexOf(kept));
  $("strip").replaceChildren(...state.order.map((index, place) => option(samples[index], place, values[index])));
  select(state.at, false);
}

function option(one, place, value) {
  const button = make("div", { role: "option", id: `sample-${place}`, tabindex: -1, "aria-selected": "false" });
  if (isText(one)) button.append(make("span", { class: "words" }, textOf(one)));
  else button.append(make("img", { src: `data:image/webp;base64,${one.photo}`, alt: "" }));
  button.append(make("b", {}, one.name));
  if ($("by").value) button.append(make("i", {}, value === null ? "no score" : value.toPrecision(3)));
  button.addEventListener("click", () => select(place, true));
  return button;
}

const textOf = (one) => Object.values(one.maps)[0]?.cells.map(([text, blank]) => (blank ? " " : "") + text).join("") ?? "";

function select(place, focus) {
  const buttons = [...$("strip").children];
  if (!buttons.length) return;
  state.at = Math.min(Math.max(place, 0), buttons.length - 1);
  buttons.forEach((button, index) => {
    button.setAttribute("aria-selected", String(index === state.at));
    button.tabIndex = index === state.at ? 0 : -1;
  });
  const chosen = buttons[state.at];
  $("strip").scrollLeft = chosen.offsetLeft - $("strip").offsetLeft - $("strip").clientWidth / 2 + chosen.clientWidth / 2;
  if (focus) chosen.focus({ preventScroll: true });
  $("previous").disabled = state.at === 0;
  $("next").disabled = state.at === buttons.length - 1;
  show();
}

$("strip").addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: state.at - 1, ArrowRight: state.at + 1, Home: 0, End: state.order.length - 1 };
  if (!(event.key in moves)) return;
  event.preventDefault();
  select(moves[event.key], true);
});
$("previous").addEventListener("click", () => select(state.at - 1, false));
$("next").addEventListener("click", () => select(state.at + 1, false));
$("shelf").addEventListener("change", () => { state.shelf = Number($("shelf").value); openShelf(); });
for (const id of ["by", "of", "worst"]) $(id).addEventListener("change", () => fillStrip(state.order[state.at]));
for (const id of ["show", "view"]) $(id).addEventListener("change", show);
$("gone").addEventListener("input", () => { $("show").value = "masked"; draw(); });
for (const form of document.querySelectorAll("#viewer form")) form.addEventListener("submit", (event) => event.preventDefault());

/** Whether a piece of this rank is missing at the slider's place. */
function goneAt(order) {
  const all = Math.max(...order) + 1, count = Math.round((Number($("gone").value) / 100) * all), deletion = view().direction === "deletion";
  return (rank) => rank >= 0 && (deletion ? rank < count : rank >= count);
}

/** Cards, curves and facts of the chosen sample. */
function show() {
  const one = sample();
  $("name").textContent = one.name;
  $("facts").textContent = `Explained: ${one.target}.` + (one.label ? ` Label: ${one.label}.` : "") + (one.note ? ` ${one.note}` : "");
  $("cards").className = isText(one) ? "texts" : "";
  const methods = shelf().methods.filter(({ name }) => name in one.maps || Object.values(one.scores).some((row) => name in row));
  $("cards").replaceChildren(...(isText(one) ? [] : [photoCard()]), ...methods.map((method) => card(one, method)));
  $("scale-note").textContent = isText(one)
    ? "Colors as in xaieval sheet: blue speaks against the class and red for it, others from white up; each method has its own scale. Underlined: the rationale."
    : "Each map has its own scale, to the 99th percentile, its ends below it: signed maps from blue over white at zero to red, others from dark to bright. The line, white inside and dark outside, goes around the object.";
  draw();
}

function photoCard() {
  return make("div", { class: "card" }, make("h4", {}, "photo"), make("canvas", { "data-method": "", role: "img", "aria-label": "The photo" }));
}

function card(one, method) {
  const { name, sentinel } = method, map = one.maps[name];
  const swatch = make("svg", { class: "swatch", width: 34, height: 8, "aria-hidden": "true" }, make("line", { x1: 0, x2: 34, y1: 4, y2: 4, "stroke-width": 3, ...look(method) }));
  const box = make("div", { class: `card${sentinel ? " sentinel" : ""}${isText(one) ? " texts-card" : ""}` }, make("h4", {}, make("span", {}, ...breakable(name)), swatch));
  if (!map) box.append(make("p", { class: "missing" }, "no map is kept"));
  else if (isText(one)) box.append(make("p", { class: "text", dir: "auto", "data-method": name }));
  else {
    box.append(make("canvas", { "data-method": name, role: "img", "aria-label": `Map of ${name}` }));
    box.append(make("div", { class: "range" }, make("span", {}, map.low), make("span", {}, map.signed ? "signed" : "importance"), make("span", {}, map.high)));
  }
  const list = make("dl");
  for (const [metric] of shelf().metrics) {
    const score = one.scores[metric]?.[name];
    if (score) list.append(make("div", {}, make("dt", { class: metric === $("by").value ? "chosen" : "" }, ...breakable(metric)), make("dd", { class: score[0] === null ? "missing" : "", title: score[1] }, score[1] || "–")));
  }
  box.append(list);
  box.addEventListener("pointerenter", () => { state.strong = name; drawCurves(); });
  box.addEventListener("pointerleave", () => { state.strong = null; drawCurves(); });
  return box;
}

/** Everything that depends on the slider. */
async function draw() {
  const turn = ++state.drawing, one = sample();
  const deletion = view().direction === "deletion";
  $("gone-label").textContent = deletion ? "Highest pieces taken away" : "Highest pieces put back";
  $("gone-value").textContent = `${$("gone").value} %`;
  drawCurves();
  if (isText(one)) {
    for (const line of document.querySelectorAll("#cards [data-method]")) line.replaceChildren(...tokens(one, line.dataset.method));
    return;
  }
  const replacement = one.removed[view().metric];
  const [photo, outline, other] = await Promise.all([picture(one.photo), one.mask ? outlined(one.mask) : null, replacement ? picture(replacement) : null]);
  for (const canvas of document.querySelectorAll("#cards canvas")) {
    if (turn !== state.drawing) return;
    await drawCard(canvas, one, photo, outline, other ?? (replacement === "" ? "#888" : "#000"), turn);
  }
}

async function drawCard(canvas, one, photo, outline, replacement, turn) {
  const name = canvas.dataset.method, mode = name ? $("show").value : "photo";
  const map = mode === "map" || mode === "overlay" ? await colored(one.maps[name]) : null;
  if (turn !== state.drawing) return;
  canvas.width = photo.naturalWidth;
  canvas.height = photo.naturalHeight;
  const context = canvas.getContext("2d");
  const whole = [0, 0, canvas.width, canvas.height];
  if (mode !== "map") {
    context.filter = mode === "overlay" ? "grayscale(1)" : "none";
    context.drawImage(photo, ...whole);
    context.filter = "none";
  }
  if (mode === "masked") {
    const order = one.orders[view().order][name];
    removePatches(context, one, view(), order, goneAt(order), replacement);
  } else if (map) {
    context.globalAlpha = mode === "overlay" ? 0.6 : 1;
    context.drawImage(map, ...whole);
    context.globalAlpha = 1;
  }
  if (outline && mode !== "masked") context.drawImage(outline, ...whole);
  canvas.dataset.drawn = `${one.name} ${$("show").value} ${$("gone").value}`;
}

/** The cells of a text with their colors; those that are gone keep their place. */
function tokens(one, name) {
  const order = one.orders[view().order][name], gone = goneAt(order), masked = $("show").value === "masked";
  return one.maps[name].cells.flatMap(([text, blank, color, ink, score, marked], place) => {
    const span = make("span", { title: score === "" ? "no score" : score }, text);
    span.style.color = ink;
    if (color) span.style.background = color;
    span.classList.toggle("marked", marked);
    span.classList.toggle("gone", masked && gone(order[place]));
    return blank ? [" ", span] : [span];
  });
}

// -- curves ------------------------------------------------------------------------------------------------------------

const WIDTH = 640, HEIGHT = 230, LEFT = 44, BOTTOM = 36, TOP = 10, RIGHT = 24;

function drawCurves() {
  const one = sample(), metric = view().metric;
  const drawn = shelf().methods.map((method) => [method, one.curves[method.name]?.[metric]]).filter(([, curve]) => curve);
  $("curve-box").hidden = !metric;
  if (!drawn.length) {
    $("curves").replaceChildren();
    $("curve-note").textContent = "The store keeps no curve of this sample: those of cells that were computed by an earlier version are not kept.";
    return;
  }
  const scores = drawn.flatMap(([, curve]) => curve[1]);
  const low = view().output === "probability" ? 0 : Math.min(...scores), high = view().output === "probability" ? 1 : Math.max(...scores);
  const x = (part) => LEFT + part * (WIDTH - LEFT - RIGHT), y = (score) => HEIGHT - BOTTOM - ((score - low) / (high - low || 1)) * (HEIGHT - BOTTOM - TOP);
  const chart = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Curves of ${metric} of ${drawn.length} methods on this sample` });
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    const score = low + part * (high - low);
    chart.append(make("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(score), y2: y(score), stroke: "#d0d7de" }));
    chart.append(make("text", { x: LEFT - 6, y: y(score) + 4, "text-anchor": "end" }, score.toPrecision(2)));
    chart.append(make("text", { x: x(part), y: HEIGHT - BOTTOM + 15, "text-anchor": "middle" }, `${100 * part} %`));
  }
  chart.append(make("text", { x: x(0.5), y: HEIGHT - 4, "text-anchor": "middle" }, `pieces ${view().direction === "deletion" ? "taken away" : "put back"}`));
  for (const [method, [parts, values]] of drawn) {
    const path = parts.map((part, point) => `${point ? "L" : "M"}${x(part).toFixed(1)} ${y(values[point]).toFixed(1)}`).join("");
    const faint = state.strong && state.strong !== method.name;
    chart.append(make("path", { d: path, fill: "none", "stroke-width": state.strong === method.name ? 4 : 2, opacity: faint ? 0.2 : 0.9, ...look(method) }));
  }
  const at = Number($("gone").value) / 100;
  chart.append(make("line", { id: "cursor", x1: x(at), x2: x(at), y1: TOP, y2: HEIGHT - BOTTOM, stroke: "#1b1f24", "stroke-width": 1.5 }));
  $("curves").replaceChildren(chart);
  const removal = view().removal, noisy = sample().removed?.[metric] === "" ? " What stands in place of a piece depends on what is left and is drawn gray here." : "";
  $("curve-note").textContent = `The ${view().output.replace("_", " ")} of the class along the order of each method; lines as beside the names below. Removal: ${removal}.${noisy}`;
}

if (shelves.length) {
  const filled = shelves.findIndex((one) => one.samples.length);
  if (filled >= 0) {
    $("viewer").hidden = false;
    for (const entry of $("shelf").options) entry.disabled = !shelves[entry.value].samples.length;
    $("shelf").value = state.shelf = filled;
    openShelf();
  }
}

// -- charts ------------------------------------------------------------------------------------------------------------

/** Shows a chart, whose SVG is packed: a tenth of the size. */
async function unpack(image) {
  const packed = Uint8Array.from(atob(image.dataset.chart), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  image.src = `data:image/svg+xml,${encodeURIComponent(await new Response(stream).text())}`;
  image.removeAttribute("data-chart");
}

await Promise.all([...document.querySelectorAll("img[data-chart]")].map(unpack));
document.documentElement.dataset.ready = "yes";
