// The figures on top: what the mask costs, and what it saves.

import { PAGE } from "./data.js";
import { count, flops, percent, say, times } from "./i18n.js";
import { change } from "./computed.js";
import { computed, measured, state } from "./state.js";
import { byId, element } from "./dom.js";

// The measured row that is nearest to this mask in tokens and density.
function nearestBench() {
  const kept = state.options.mode === "pooled" ? measured.blockDensity : measured.tokenDensity;
  const far = (row) => Math.abs(Math.log(row.tokens / measured.tokens)) + Math.abs(Math.log(row.density / kept));
  return PAGE.bench.slice().sort((a, b) => far(a) - far(b))[0];
}

// Name, figure, note and, for a share, how much of its bar is full.
export function tileTexts() {
  const { options } = state,
    bench = nearestBench(),
    { layers, width } = PAGE.model,
    whole = times(measured.wholeSpeedup);
  const pairs = say("{some} of {all} pairs", { some: count(measured.tokenPairs), all: count(measured.allPairs) });
  const blocks = options.permute
    ? "In {b} × {b} blocks, tokens sorted by region"
    : "In {b} × {b} blocks, tokens in picture order";
  const by =
    options.mode === "pooled"
      ? "Of attention, by blocks; the whole network: {whole}"
      : "Of attention, by pairs; the whole network: {whole}";
  const nearest = bench && {
    tokens: count(bench.tokens),
    density: percent(bench.density),
    method: bench.method,
    device: bench.device,
    date: bench.date,
  };
  return [
    [say("Token density"), percent(measured.tokenDensity), pairs, measured.tokenDensity],
    [say("Block density"), percent(measured.blockDensity), say(blocks, { b: options.block }), measured.blockDensity],
    [
      say("Computed tokens"),
      (change && state.edited.size ? "≈ " : "") + percent(computed.share),
      change
        ? say("By region-sparse inference: face, hands, what moves")
        : say("By region-sparse inference: face, hands, arms, a rim"),
      computed.share,
    ],
    [
      say("Computed, not needed"),
      percent(measured.wastedShare),
      say("{some} pairs of the kept blocks", { some: count(measured.wasted) }),
      measured.wastedShare,
    ],
    [
      say("Cost of attention"),
      `${flops(measured.flops)}FLOP`,
      say("Dense: {dense}FLOP; {layers} layers, width {width}", { dense: flops(measured.denseFlops), layers, width }),
    ],
    [say("Predicted speed-up"), times(measured.speedup), say(by, { whole })],
    nearest
      ? [
          say("Measured speed-up"),
          times(bench.speedup),
          say("Nearest benchmark: {tokens} tokens at {density}, {method}; {device}, {date}", nearest),
        ]
      : [say("Measured speed-up"), "–", say("No benchmark is bundled with this page")],
  ];
}

// Made once; afterwards only what has changed is written, so that dragging does not lay the page out anew.
export function showTiles() {
  const box = byId("tiles");
  tileTexts().forEach(([name, big, note, share], number) => {
    if (!box.children[number]) box.append(makeTile(name, number, share !== undefined));
    const figure = byId(`figure-${number}`),
      tile = figure.parentElement;
    rewrite(figure, big);
    figure.className = big.length > 9 ? "big long" : "big";
    rewrite(tile.querySelector(".note"), note);
    if (share !== undefined) tile.querySelector("i").style.width = `${Math.max(0.5, 100 * share)}%`;
  });
}

const rewrite = (place, text) => {
  if (place.textContent !== text) place.textContent = text;
};

function makeTile(name, number, metered) {
  const meter = element("dd", { class: "meter", "aria-hidden": "true" }, element("i"));
  return element(
    "div",
    { class: "card tile" },
    element("dt", {}, name),
    element("dd", { id: `figure-${number}` }),
    ...(metered ? [meter] : []),
    element("dd", { class: "note" }),
  );
}
