// The similarity tab: S of every two frames, and the nearest poses of the query frame.

import { clamp } from "./data.js";
import { figure, say } from "./i18n.js";
import { distance, f, plan, state } from "./state.js";
import { about, byId, element, fit, makeCanvas } from "./dom.js";
import { QUERY_LINE, ink, mapColour, mapGradient, toRgb } from "./colours.js";
import { paintPixels } from "./matrix.js";

const MOST_RANKS = 8; // rows of the table

// A heat map of every two frames in a square of W pixels. `valueOf` (query, key) is null where nothing is to be seen,
// `chosen` gives the key frames of a query that are outlined.
export function drawPairs(canvas, W, valueOf, chosen, most) {
  const pen = fit(canvas, W, W),
    size = W / f,
    image = document.createElement("canvas"),
    well = toRgb(ink.well);
  paintPixels(image, f, (p) => {
    const value = valueOf(Math.floor(p / f), p % f);
    return value === null ? well : mapColour(value / most);
  });
  pen.imageSmoothingEnabled = false;
  pen.drawImage(image, 0, 0, W, W);
  if (size >= 5) {
    for (let q = 0; q < f; q++)
      for (const k of chosen(q)) {
        for (const [thick, colour] of [
          [3, "#000"],
          [1.4, "#fff"],
        ]) {
          pen.lineWidth = thick;
          pen.strokeStyle = colour;
          pen.strokeRect(k * size + 2, q * size + 2, size - 4, size - 4);
        }
      }
  }
  pen.lineWidth = 2;
  pen.strokeStyle = QUERY_LINE;
  pen.strokeRect(1, state.query.t * size, W - 2, size);
}
export const pairWidth = () => Math.floor(clamp(byId("panels").clientWidth - 4, 200, 440));

export function makeSimilarityView(panel) {
  const scale = element(
    "div",
    { class: "row hint" },
    say("Near"),
    element("span", { id: "heat-scale" }),
    element("span", { id: "heat-most" }),
    say("Far"),
  );
  panel.append(
    element(
      "div",
      { class: "figures" },
      element("div", {}, element("div", { id: "heat-box" }), scale),
      element(
        "div",
        {},
        about(
          say(
            "S of every two frames: what is left between their keypoints after the best rotation and shift. Each row is a query frame, each column a candidate; dark is similar. Outlined are the K most similar past frames, the ones that the mask keeps.",
          ),
        ),
        element("p", { class: "hint" }, say("Click a row to make that frame the query.")),
        element("table", { id: "ranks" }),
      ),
    ),
  );
  makeCanvas("heat", say("Pose distance of every two frames"), byId("heat-box"));
  byId("heat-scale").style.background = mapGradient();
}

export function drawSimilarity() {
  const { causal, top_k } = state.options,
    { t } = state.query,
    S = (q, k) => distance[q * f + k];
  let most = 0;
  for (let q = 0; q < f; q++) for (let k = 0; k < q; k++) if (S(q, k) < Infinity) most = Math.max(most, S(q, k));
  const hidden = (q, k) => (causal ? k >= q : k === q) || S(q, k) === Infinity;
  const chosen = (q) => plan.past[q].filter((s) => plan.table[q].indexOf(s) < top_k);
  drawPairs(byId("heat"), pairWidth(), (q, k) => (hidden(q, k) ? null : S(q, k)), chosen, most || 1);
  byId("heat-most").textContent = figure(most);
  const fate = (s, rank) => (rank < top_k ? say("Kept") : plan.past[t].includes(s) ? say("Window") : "–");
  const cells = (name, values) => element("tr", {}, ...values.map((value) => element(name, {}, value)));
  byId("ranks").replaceChildren(
    element("caption", { class: "hint" }, say("Poses nearest to frame {t}", { t })),
    cells("th", [say("Candidate"), "S", ""]),
    ...plan.ranked[t]
      .slice(0, MOST_RANKS)
      .map((s, rank) => cells("td", [say("Frame {t}", { t: s }), figure(S(t, s)), fate(s, rank)])),
  );
}
