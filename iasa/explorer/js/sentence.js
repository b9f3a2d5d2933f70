// The sentence under the frames: what the patch sees, or why it sees the second patch.

import { range } from "./data.js";
import { count, listed, namesOf, say } from "./i18n.js";
import { REASON, sinksOf } from "./visibility.js";
import { lowestBit, reasonOf, rowReasons, wholeReason } from "./mask.js";
import { explain } from "./explain.js";
import { f, n, plan, state } from "./state.js";
import { byId } from "./dom.js";
import { COLOURS, reasonColour } from "./colours.js";
import { GUESS, isGuessing, sayGuess } from "./guess.js";

function saySeen() {
  const { t, i } = state.query,
    mine = plan.bits[t * n + i],
    { causal, local } = state.options;
  let keys = 0;
  for (const reason of rowReasons(plan, t, i)) keys += reason > 0;
  let who = say("a patch");
  if (local) who = mine ? say("a patch of the {parts}", { parts: listed(namesOf(mine)) }) : say("a background patch");
  const where = [say("its own frame")],
    many = plan.past[t].length,
    sinks = sinksOf(plan.options, f),
    wholeFor = (why) => range(0, f).filter((s) => s !== t && wholeReason(plan, t, s) === why).length;
  if (wholeFor(REASON.own)) where.push(say("the others of its chunk"));
  if (wholeFor(REASON.sink)) where.push(sinks > 1 ? say("{sinks} references", { sinks }) : say("the sink"));
  if (wholeFor(REASON.window)) where.push(say("the window's frames"));
  if (mine && many === 1) where.push(say(causal ? "1 past frame" : "1 other frame"));
  if (mine && many > 1) where.push(say(causal ? "{many} past frames" : "{many} other frames", { many }));
  const given = { t, who, keys: count(keys), all: count(f * n), where: listed(where) };
  return say("Frame {t}: {who} sees {keys} of {all} patches, in {where}.", given);
}

// `aloud`: a screen reader says it too.
export function showSentence(aloud = false) {
  const { query, key } = state,
    mine = plan.bits[query.t * n + query.i];
  let text, colour;
  if (state.lit === "guess" && (isGuessing() || !key)) {
    text = sayGuess();
    colour = `rgb(${GUESS.mark})`;
  } else if (key) {
    text = explain(plan, query.t, query.i, key.t, key.i);
    colour = reasonColour(reasonOf(plan, query.t, query.i, key.t, key.i));
  } else {
    text = saySeen();
    if (state.pinned) text += ` ${say("Now point at a second patch.")}`;
    colour = mine && state.options.local ? COLOURS.regions[lowestBit(mine)] : "transparent";
  }
  byId("sentence").textContent = text;
  byId("dot").style.background = colour;
  byId("release").hidden = !state.pinned || state.lit === "guess";
  if (aloud) byId("announce").textContent = text;
}
