// A mask as text: its settings in an address, and the whole plan as JSON.

import { RULE, decode, encode } from "./data.js";
import { figure, say } from "./i18n.js";
import { ALL_REGIONS, DEFAULTS, SIGNATURES, makePlan, withTable } from "./mask.js";

const FLAGS = { sink: "s", local: "l", causal: "c", align: "a", permute: "p", whole_window: "f" };

// Settings as a short text for the URL, and back; values out of range are left out.
export function writeSettings(options) {
  const words = [
    `k=${options.top_k}`,
    `w=${options.window}`,
    `n=${options.chunk}`,
    `b=${options.block}`,
    `r=${options.regions}`,
    `m=${options.method}`,
    `x=${options.mode}`,
  ];
  for (const [name, letter] of Object.entries(FLAGS)) words.push(`${letter}=${options[name] ? 1 : 0}`);
  return words.join("&");
}

export function readSettings(text, start) {
  const given = new URLSearchParams(text),
    options = { ...start };
  const number = (key, most) => {
    const v = Number(given.get(key));
    return given.get(key) && Number.isInteger(v) && v >= 0 && v <= most ? v : null;
  };
  const take = (name, value) => {
    if (value !== null) options[name] = value;
  };
  take("top_k", number("k", 64));
  take("window", number("w", 16));
  take("chunk", number("n", 16) || null);
  take("regions", number("r", ALL_REGIONS));
  if (RULE.blocks.includes(number("b", 128))) take("block", number("b", 128));
  if (RULE.methods.includes(given.get("m"))) take("method", given.get("m"));
  if (RULE.modes.includes(given.get("x"))) take("mode", given.get("x"));
  for (const [name, letter] of Object.entries(FLAGS)) {
    const v = number(letter, 1);
    if (v !== null) options[name] = v === 1;
  }
  return options;
}

// The plan as iasa.masks.AttentionPlan.from_json reads it; the last entry is the explorer's own.
export function toJson(plan) {
  const o = plan.options;
  return JSON.stringify({
    kind: "iasa attention plan",
    version: 1,
    grid: plan.grid,
    options: Object.fromEntries(Object.keys(RULE.options).map((name) => [name, o[name]])),
    regions: RULE.regions,
    frame_table: plan.table,
    region_bits: encode(plan.bits),
    distance: encode(Float32Array.from(plan.distance)),
    explorer: { align: o.align, permute: o.permute, regions: o.regions },
  });
}

// A plan of a JSON file, for comparing. Throws an Error in plain words.
export function fromJson(text, grid, permute) {
  let data;
  try {
    data = JSON.parse(text);
  } catch {
    throw new Error(say("The file is not JSON."));
  }
  if (!data || data.kind !== "iasa attention plan" || data.version !== 1)
    throw new Error(say("The file is not an attention plan."));
  const g = data.grid || {},
    f = grid.frames,
    n = grid.rows * grid.cols;
  const size = ({ frames, rows, cols, aspect = 1 }) => `${frames} × ${rows} × ${cols}${aspect === 1 ? "" : ` (${figure(aspect)})`}`;
  if (size(g) !== size(grid))
    throw new Error(say("Its grid is {its}; {ours} is shown here.", { its: size(g), ours: size(grid) }));
  const bits = decode(String(data.region_bits), Uint8Array);
  const table = data.frame_table,
    options = { ...DEFAULTS, permute, ...data.options, ...data.explorer };
  const good =
    bits.length === f * n &&
    bits.every((b) => b < SIGNATURES) &&
    Array.isArray(table) &&
    table.length === f &&
    table.every((row) => Array.isArray(row) && row.every((s) => Number.isInteger(s) && s >= -1 && s < f)) &&
    ["block", "chunk", "references"].every((name) => options[name] >= 1);
  if (!good) throw new Error(say("The plan's frame table or region bits are damaged."));
  const distance = data.distance
    ? Float64Array.from(decode(String(data.distance), Float32Array))
    : new Float64Array(f * f);
  return withTable(makePlan({ frames: f }, grid, options, bits, distance), table);
}
