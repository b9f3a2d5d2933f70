// Why a patch does or does not see another one, in a sentence.

import { figure, listed, namesOf, ordinal, say } from "./i18n.js";
import { REASON, sinksOf } from "./visibility.js";
import { reasonOf, wholeReason } from "./mask.js";

const shownPart = (bits) => (bits ? say("the {parts}", { parts: listed(namesOf(bits)) }) : say("background"));

// Of a frame that is seen whole, whatever the patches show.
function explainWhole(plan, reason, tq, tk) {
  const sinks = sinksOf(plan.options, plan.grid.frames);
  if (tq === tk) return say("Visible: a frame sees all of itself (frame {tq}).", { tq });
  if (reason === REASON.window)
    return say("Visible: frame {tk} lies in the window next to frame {tq}, which is seen whole.", { tk, tq });
  if (reason === REASON.own && tk >= sinks)
    return say("Visible: frames {tq} and {tk} are one chunk, made together, and see each other whole.", { tk, tq });
  return sinks === 1
    ? say("Visible: frame 0 is the sink, the reference that every frame sees whole.")
    : say("Visible: frame {tk} is one of {sinks} references, which every frame sees whole.", { tk, sinks });
}

// The sentence for query token i of frame tq and key token j of frame tk.
export function explain(plan, tq, i, tk, j) {
  const { n, options, distance } = plan,
    f = plan.grid.frames;
  const reason = reasonOf(plan, tq, i, tk, j),
    mine = plan.bits[tq * n + i],
    other = plan.bits[tk * n + j];
  const whole = wholeReason(plan, tq, tk);
  if (whole) return explainWhole(plan, whole, tq, tk);
  if (options.causal && tk > tq)
    return say("Hidden: frame {tk} lies in the future of frame {tq}; attention is causal.", { tk, tq });
  const S = figure(distance[tq * f + tk]),
    rank = plan.ranked[tq].indexOf(tk),
    limit = plan.ranked[tq][options.top_k - 1];
  const among = options.causal ? say("past frames") : say("frames");
  if (plan.past[tq].includes(tk)) {
    const chosen = plan.table[tq].indexOf(tk) < options.top_k,
      given = { tk, tq, among, S, rank: ordinal(rank + 1) };
    const why = !chosen
      ? say("frame {tk} lies in the window next to frame {tq}", given)
      : rank
        ? say("frame {tk} is the {rank} most similar of frame {tq}'s {among} (distance {S})", given)
        : say("frame {tk} is the most similar of frame {tq}'s {among} (distance {S})", given);
    if (!options.local) return say("Visible: {why}, and without the local mask it is seen whole.", { why });
    if (mine & other)
      return say("Visible: {why}, and both patches show {what}.", { why, what: shownPart(mine & other) });
    const apart =
      !mine && !other
        ? say("both patches are background, which sees its own frame only")
        : !mine
          ? say("the query patch is background, which sees its own frame only")
          : !other
            ? say("the key patch is background, which sees its own frame only")
            : say("the patches share no region: {here} here, {there} there", {
                here: shownPart(mine),
                there: shownPart(other),
              });
    if (reason === REASON.block)
      return say("Computed but not needed: {apart}; yet their {b} × {b} block holds a pair that is.", {
        apart,
        b: options.block,
      });
    return say("Hidden: {why}, but {apart}.", { why, apart });
  }
  if (distance[tq * f + tk] === Infinity)
    return say("Hidden: frames {tq} and {tk} share fewer than two seen keypoints, so their distance is infinite.", {
      tq,
      tk,
    });
  if (rank < 0)
    return say("Hidden: frame {tk} is {far} frames away; only {reach} are searched.", {
      tk,
      far: Math.abs(tq - tk),
      reach: options.reach,
    });
  if (!options.top_k) return say("Hidden: K is 0, so no frame is chosen by its pose (distance {S}).", { S });
  const most = figure(distance[tq * f + limit]),
    given = { tk, tq, among, S, most, K: options.top_k, sign: S === most ? "≥" : ">" };
  return options.top_k === 1
    ? say("Hidden: frame {tk} is not the most similar of the {among} of frame {tq}: distance {S} {sign} {most}.", given)
    : say(
        "Hidden: frame {tk} is not among the {K} most similar {among} of frame {tq}: distance {S} {sign} {most}.",
        given,
      );
}
