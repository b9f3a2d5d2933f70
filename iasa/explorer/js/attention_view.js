// The tab of learned attention: where a trained network looked, and how much of that the mask keeps.

import { RULE, range } from "./data.js";
import { percent, say } from "./i18n.js";
import { wholeReason } from "./mask.js";
import { attention, isExact, keptMass, keptShares, massPlace, pairPlace, recall } from "./recall.js";
import { emit, f, measured, plan, state } from "./state.js";
import { about, byId, element, fit, makeCanvas } from "./dom.js";
import { COLOURS, QUERY_LINE, ink, mapColour } from "./colours.js";
import { drawPairs, pairWidth } from "./similarity_view.js";
import { drawAxes, plotWidth } from "./time_view.js";

const SIDES = RULE.regions.length + 1; // entries of `parts`: the key's first region, then the background

const choices = {}; // the two select elements
function chooser(name, every, one, many) {
  const options = range(0, many).map((i) => element("option", { value: i }, say(one, { i })));
  const select = element("select", { "aria-label": every }, element("option", { value: -1 }, every), ...options);
  select.addEventListener("change", () => {
    state[name] = Number(select.value);
    drawAttention();
    emit("settings");
  });
  choices[name] = select;
  return select;
}

export function makeAttentionView(panel) {
  if (!attention) {
    const command = element("kbd", {}, "python -m iasa mask --pose P.npz --attention --out explorer.html");
    panel.append(
      element(
        "p",
        {},
        say("This page holds no record of learned attention. To make one that does, run"),
        " ",
        command,
        " ",
        say("or explore a clip that was made in the demo."),
      ),
    );
    return;
  }
  const layer = chooser("layer", say("All layers"), "Layer {i}", attention.layers),
    head = chooser("head", say("All heads"), "Head {i}", attention.heads);
  panel.append(
    element("div", { class: "row" }, layer, head, element("span", { class: "hint" }, attention.source)),
    element("p", { class: "recall" }, element("strong", { id: "recall" }), " ", element("span", { id: "recall-note" })),
    element(
      "div",
      { class: "figures" },
      element("div", { id: "mass-box" }),
      element(
        "div",
        {},
        element("table", { id: "board" }),
        about(
          say(
            "What a trained network attended to while it made this clip. Left, each row is a query frame and each column the frame it looked at, dark to bright (square root); outlined are the frames that the mask shows. The table gives the share of attention that the mask keeps, by layer and head; click one to see it alone. The bars show where the query frame looked, by the region of the key patch; hatched is what the mask throws away.",
          ),
        ),
      ),
    ),
  );
  makeCanvas("mass", say("Learned attention of every two frames"), byId("mass-box"));
  makeCanvas("mass-bars", say("Learned attention of the query frame, by frame and region"), panel);
}

// [layer, head] of those that are chosen.
const chosenHeads = () =>
  range(0, attention.layers)
    .flatMap((l) => range(0, attention.heads).map((h) => [l, h]))
    .filter(([l, h]) => (state.layer < 0 || l === state.layer) && (state.head < 0 || h === state.head));

export function drawAttention() {
  if (!attention) return;
  const some = chosenHeads(),
    { shares, board } = ofPlan(),
    { t } = state.query;
  const mean = (valueOf) => some.reduce((sum, [l, h]) => sum + valueOf(l, h), 0) / some.length;
  const massOf = meanMass(some);
  const keptOf = (q, k) => mean((l, h) => keptMass(plan, attention, shares, l, h, q, k));
  sayRecall(
    mean((l, h) => board[l][h]),
    mean((l, h) => recall(plan, attention, shares, l, h, t)),
  );
  let most = 0.01;
  for (let q = Math.min(3, f - 1); q < f; q++) for (let k = 0; k <= q; k++) most = Math.max(most, massOf(q, k));
  const seen = (q) => range(0, f).filter((k) => k !== q && (wholeReason(plan, q, k) || plan.past[q].includes(k)));
  drawPairs(byId("mass"), pairWidth(), (q, k) => (k > q ? null : Math.sqrt(massOf(q, k))), seen, Math.sqrt(most));
  showBoard(board);
  drawMassBars(
    range(0, f).map((k) => (k > t ? 0 : massOf(t, k))),
    range(0, f).map((k) => keptOf(t, k)),
    some,
  );
}

function sayRecall(keptAll, keptHere) {
  const exact = isExact(plan, attention),
    { layer, head } = state;
  const layers = layer < 0 ? say("all layers") : say("layer {i}", { i: layer }),
    heads = head < 0 ? say("all heads") : say("head {i}", { i: head });
  const given = { layers, heads, share: percent(measured.tokenDensity), t: state.query.t, here: percent(keptHere) };
  const note = say(
    "of the attention ({layers}, {heads}) falls on pairs that the mask keeps, though it keeps only {share} of the pairs. Frame {t}: {here}.",
    given,
  );
  const estimated = say(
    "This is an estimate: poses, shapes or blocks differ from those of the recorded run, so pairs that shared the same regions then count evenly.",
  );
  byId("recall").textContent = (exact ? "" : "≈ ") + percent(keptAll);
  byId("recall-note").textContent = exact ? note : `${note} ${estimated}`;
  for (const [name, select] of Object.entries(choices)) select.value = state[name];
}

// What hangs on the mask alone, computed once for each: what it keeps of every two frames, and of each layer and head.
let known = { plan: null, mean: null, some: "" };
function ofPlan() {
  if (known.plan === plan) return known;
  const shares = keptShares(plan, attention),
    board = range(0, attention.layers).map((l) =>
      range(0, attention.heads).map((h) => recall(plan, attention, shares, l, h)),
    );
  return Object.assign(known, { plan, shares, board });
}

// Attention from frame q to frame k, the mean over some layers and heads.
function meanMass(some) {
  if (known.some !== String(some)) {
    const pairs = attention.mass.length / attention.layers / attention.heads;
    known.mean = new Float32Array(pairs);
    for (const [l, h] of some) {
      const at = massPlace(attention, f, l, h, 0, 0);
      for (let p = 0; p < pairs; p++) known.mean[p] += attention.mass[at + p] / some.length;
    }
    known.some = String(some);
  }
  return (q, k) => known.mean[pairPlace(q, k)];
}

// The share that the mask keeps, a button for each layer and head.
function showBoard(board) {
  const heads = range(0, attention.heads);
  const choose = (l, h) => {
    Object.assign(state, { layer: l, head: h });
    drawAttention();
    emit("settings");
  };
  const button = (l, h) => {
    const share = board[l][h],
      rgb = mapColour(share),
      dark = rgb[0] + rgb[1] + rgb[2] < 400;
    const open = state.layer === l && state.head === h;
    const style = `background:rgb(${rgb});color:${dark ? "#fff" : "#111"};border-color:${open ? QUERY_LINE : "transparent"}`;
    const onclick = () => (open ? choose(-1, -1) : choose(l, h));
    return element(
      "td",
      {},
      element("button", { type: "button", "aria-pressed": String(open), onclick, style }, `${Math.round(100 * share)}`),
    );
  };
  byId("board").replaceChildren(
    element("caption", { class: "hint" }, say("Share that the mask keeps, in percent")),
    element("tr", {}, element("th", {}, say("Layer")), ...heads.map((i) => element("th", {}, say("Head {i}", { i })))),
    ...range(0, attention.layers).map((l) =>
      element("tr", {}, element("th", {}, String(l)), ...heads.map((h) => button(l, h))),
    ),
  );
}

// mass, kept [f]: from the query frame to each frame, in all and as the mask leaves it.
function drawMassBars(mass, kept, some) {
  const W = plotWidth(),
    H = 210,
    pen = fit(byId("mass-bars"), W, H),
    { t } = state.query;
  const axes = drawAxes(pen, W, H, 8, Math.max(0.02, ...mass), 2, percent);
  const partAt = (l, h, k, part) => attention.parts[massPlace(attention, f, l, h, t, k) * SIDES + part];
  for (let k = 0; k <= t; k++) {
    let y = axes.floor;
    for (let part = 0; part < SIDES; part++) {
      const share = some.reduce((sum, [l, h]) => sum + partAt(l, h, k, part), 0) / some.length / 255;
      y -= axes.high(share * mass[k]);
      pen.fillStyle = COLOURS.regions[part] || ink.sink;
      pen.fillRect(axes.barAt(k), y, axes.barWidth, axes.high(share * mass[k]));
    }
    const lost = axes.high(mass[k] - kept[k]);
    if (lost > 0.5) hatch(pen, axes.barAt(k), axes.floor - axes.high(mass[k]), axes.barWidth, lost, axes.height);
  }
}

function hatch(pen, x, y, width, height, far) {
  pen.save();
  pen.beginPath();
  pen.rect(x, y, width, height);
  pen.clip();
  pen.fillStyle = ink.card;
  pen.globalAlpha = 0.72;
  pen.fillRect(x, y, width, height);
  pen.globalAlpha = 1;
  pen.strokeStyle = ink.text;
  pen.lineWidth = 1;
  pen.beginPath();
  for (let d = -far; d < width + far; d += 5) {
    pen.moveTo(x + d, y + height);
    pen.lineTo(x + d + height, y);
  }
  pen.stroke();
  pen.restore();
}
