// The compare tab: this mask (A) beside another one (B), and which pairs only one of them computes.

import { PAGE, RULE, clamp } from "./data.js";
import { flops, percent, say, times } from "./i18n.js";
import { poseDistance } from "./similarity.js";
import { regionBits } from "./regions.js";
import { comparePlans, makePlan, measure } from "./mask.js";
import { fromJson } from "./plan_text.js";
import { bits, distance, emit, f, grid, hasPoses, measured, n, plan, poses, state } from "./state.js";
import { about, byId, element, makeCanvas, tell } from "./dom.js";
import { COLOURS, ink, toRgb } from "./colours.js";
import { matrixShares, mix, paintPixels, paintShares } from "./matrix.js";

const MOST_BYTES = 3e7; // of a plan's file
export const VARIANTS = {
  global: ["Chosen frames whole, no regions", (o) => ({ ...o, local: false })],
  window: ["Window only, with as many frames", (o) => ({ ...o, top_k: 0, window: o.top_k + o.window })],
  align: ["Rigid alignment switched", (o) => ({ ...o, align: !o.align })],
  shapes: ["Region shapes switched", (o) => ({ ...o, method: RULE.methods.find((method) => method !== o.method) })],
  blocks: ["Whole blocks in picture order", (o) => ({ ...o, mode: "pooled", permute: false })],
};

export function makeCompareView(panel) {
  const shown = Object.entries(VARIANTS).filter(([name]) => hasPoses || !["align", "shapes"].includes(name));
  const variants = shown.map(([value, [title]]) => element("option", { value }, say(title)));
  const select = element("select", { id: "second-kind", "aria-label": say("Mask B") }, ...variants);
  select.value = state.second;
  select.addEventListener("change", () => {
    state.second = select.value;
    drawCompare();
    emit("settings");
  });
  const file = element("input", {
    type: "file",
    accept: ".json,application/json",
    class: "hidden",
    id: "second-file",
    "aria-label": say("Mask B from a JSON file"),
  });
  file.addEventListener("change", () => readSecond(file, select));
  const keep = () => {
    state.loaded = plan;
    useSecond(select, "kept", say("The mask as I kept it"));
  };
  panel.append(
    element(
      "div",
      { class: "row" },
      say("Mask B:"),
      select,
      element("button", { type: "button", id: "keep", onclick: keep }, say("Keep this mask as B")),
      element("button", { type: "button", onclick: () => file.click() }, say("Load B from JSON")),
      file,
    ),
    element("div", { class: "figures", id: "trio" }),
    element("table", { id: "numbers" }),
    about(
      say(
        "Two masks of the same clip, each as an attention matrix, and what tells them apart: blue pairs are computed by A alone, vermilion ones by B alone, grey ones by both. The table gives the same in figures.",
      ),
    ),
  );
  const titles = {
    first: say("A: this mask"),
    second: "B",
    difference: say("Difference: blue A alone, vermilion B alone, grey both"),
  };
  for (const [id, title] of Object.entries(titles)) {
    const box = element("div", {}, element("p", { class: "hint" }, title));
    byId("trio").append(box);
    makeCanvas(id, title, box);
  }
}

function useSecond(select, value, title) {
  if (![...select.options].some((option) => option.value === value)) select.append(element("option", { value }));
  [...select.options].find((option) => option.value === value).textContent = title;
  select.value = state.second = value;
  drawCompare();
}

async function readSecond(file, select) {
  const [given] = file.files;
  try {
    if (!given) return;
    if (given.size > MOST_BYTES) throw new Error(say("The file is larger than 30 MB."));
    state.loaded = fromJson(await given.text(), grid, state.options.permute);
    useSecond(select, "file", given.name.slice(0, 40));
  } catch (error) {
    tell(error.message);
  }
  file.value = "";
}

function secondPlan() {
  if (!(state.second in VARIANTS)) return state.loaded;
  const options = VARIANTS[state.second][1](state.options);
  const S = options.align === state.options.align ? distance : poseDistance(poses, options.align);
  return makePlan(
    poses,
    grid,
    options,
    options.method === state.options.method ? bits : regionBits(poses, grid, options.method),
    S,
  );
}

export function drawCompare() {
  byId("second-kind").value = state.second;
  const b = secondPlan(),
    room = byId("panels").clientWidth;
  const W = Math.floor(clamp(room > 640 ? (room - 52) / 3 : room - 4, 160, 330)),
    zoom = { x: 0, y: 0, scale: W / (f * n) };
  const first = matrixShares(plan, W, zoom),
    second = matrixShares(b, W, zoom);
  paintShares(byId("first"), W, first);
  paintShares(byId("second"), W, second);
  paintDifference(byId("difference"), W, first.computed, second.computed);
  for (const id of ["first", "second", "difference"]) {
    byId(id).parentElement.style.width = `${W}px`;
    Object.assign(byId(id).style, { width: `${W}px`, height: `${W}px`, border: `1px solid ${ink.line}` });
  }
  showNumbers(b);
}

function paintDifference(canvas, W, first, second) {
  const paper = toRgb(ink.paper),
    grey = toRgb(ink.waste),
    A = toRgb(COLOURS.own),
    B = toRgb(COLOURS.window);
  paintPixels(canvas, W, (p) => {
    const both = Math.min(first[p], second[p]),
      gap = Math.abs(first[p] - second[p]);
    const under = both > 0 ? mix(paper, grey, 0.15 + 0.4 * both) : paper;
    return gap > 0 ? mix(under, first[p] > second[p] ? A : B, Math.min(1, 0.25 + gap)) : under;
  });
}

function showNumbers(b) {
  const other = measure(b, PAGE.model),
    pairs = comparePlans(plan, b),
    all = measured.allPairs;
  const line = (name, x, y) => element("tr", {}, ...[name, x, y].map((text) => element("td", {}, text)));
  byId("numbers").replaceChildren(
    element("tr", {}, ...["", say("A: this mask"), "B"].map((text) => element("th", {}, text))),
    line(say("Token density"), percent(measured.tokenDensity), percent(other.tokenDensity)),
    line(say("Block density"), percent(measured.blockDensity), percent(other.blockDensity)),
    line(say("Cost of attention"), `${flops(measured.flops)}FLOP`, `${flops(other.flops)}FLOP`),
    line(say("Predicted speed-up"), times(measured.speedup), times(other.speedup)),
    line(say("Computed by both"), percent(pairs.both / all), percent(pairs.both / all)),
    line(say("Computed by this one alone"), percent(pairs.onlyA / all), percent(pairs.onlyB / all)),
  );
}
