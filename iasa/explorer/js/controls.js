// The mask's options, and the key of the colours.

import { RULE } from "./data.js";
import { capital, say } from "./i18n.js";
import { f, hasPoses, setOption, start, state, useOptions } from "./state.js";
import { byId, element, pick } from "./dom.js";
import { COLOURS, ink } from "./colours.js";

const refresh = []; // what brings each control to the state

const group = (title, ...children) => element("fieldset", {}, element("legend", {}, title), ...children);
const rowOf = (...children) => element("div", { class: "row" }, ...children);

function slider(title, name, most, least = 0) {
  const input = element("input", { type: "range", min: least, max: most, id: `option-${name}`, "aria-label": title }),
    out = element("output");
  input.addEventListener("input", () => setOption(name, Number(input.value)));
  refresh.push(() => {
    input.value = state.options[name];
    out.textContent = state.options[name];
  });
  return group(title, element("div", { class: "slider" }, input, out));
}

function segments(title, name, choices, label = String) {
  const fixed = name === "method" && !hasPoses;
  const picks = choices.map((value) =>
    pick("seg", `option-${name}`, label(value), "radio", () => setOption(name, value)),
  );
  refresh.push(() =>
    picks.forEach((made, at) => {
      made.firstChild.checked = state.options[name] === choices[at];
      made.firstChild.disabled = fixed;
    }),
  );
  return group(title, rowOf(...picks));
}

function toggle(name, label) {
  const made = pick("switch", `option-${name}`, label, "checkbox", (yes) => setOption(name, yes));
  refresh.push(() => {
    made.firstChild.checked = state.options[name];
    made.firstChild.disabled = name === "align" && !hasPoses;
  });
  return made;
}

function regionChip(name, r) {
  const flip = () => setOption("regions", state.options.regions ^ (1 << r));
  const made = pick("chip", `region-${name}`, capital(say(name)), "checkbox", flip, `--swatch:${COLOURS.regions[r]}`);
  refresh.push(() => {
    made.firstChild.checked = Boolean((state.options.regions >> r) & 1);
    made.firstChild.disabled = !state.options.local;
  });
  return made;
}

export function makeControls() {
  const reset = element(
    "button",
    { type: "button", id: "reset", onclick: () => useOptions({ ...start }) },
    say("Reset"),
  );
  const shapes = { mls: say("Moving least squares"), hull: say("Hull of each frame"), body: say("Bones of each frame") };
  const computed = { exact: say("Exact pairs"), pooled: say("Whole blocks") };
  byId("controls").append(
    element("div", { class: "head" }, element("h2", {}, say("The mask")), reset),
    slider(say("K: most similar past frames"), "top_k", Math.max(1, Math.min(16, f - 1))),
    slider(say("Window: frames just before"), "window", Math.min(6, Math.max(1, f - 1))),
    slider(say("Chunk: frames made together"), "chunk", Math.max(1, Math.min(8, f - 1)), 1),
    group(say("Regions that see each other across frames"), rowOf(...RULE.regions.map(regionChip))),
    group(
      say("Rules"),
      rowOf(
        toggle("local", say("Match regions")),
        toggle("sink", say("Sink frame")),
        toggle("causal", say("Causal")),
        toggle("align", say("Rigid alignment")),
        toggle("whole_window", say("Window whole")),
      ),
    ),
    segments(say("Region shapes"), "method", RULE.methods, (method) => shapes[method]),
    segments(say("Block size in the attention matrix"), "block", RULE.blocks),
    group(say("Token order"), rowOf(toggle("permute", say("Sorted by region")))),
    segments(say("What is computed"), "mode", RULE.modes, (mode) => computed[mode]),
  );
}

export function showControls() {
  refresh.forEach((act) => act());
  showKey();
}

export function showKey() {
  const { sink, window, local, regions, mode } = state.options,
    items = [[say(state.options.chunk > 1 ? "Own chunk" : "Own frame"), COLOURS.own]];
  if (sink) items.push([say(state.options.references > 1 ? "References" : "Sink"), ink.sink]);
  if (window) items.push([say("Window"), COLOURS.window]);
  if (local)
    RULE.regions.forEach((name, r) => {
      if ((regions >> r) & 1) items.push([capital(say(name)), COLOURS.regions[r]]);
    });
  else items.push([say("Chosen frame, whole"), COLOURS.whole]);
  if (mode === "pooled") items.push([say("Its block only"), ink.waste]);
  byId("key").replaceChildren(
    ...items.map(([name, colour]) => element("li", {}, element("i", { style: `background:${colour}` }), name)),
  );
}
