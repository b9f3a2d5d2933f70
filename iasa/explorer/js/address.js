// What the address keeps of the page, and the page around this one where it is in a frame.

import { PAGE } from "./data.js";
import { asked, german, say } from "./i18n.js";
import { readSettings, writeSettings } from "./plan_text.js";
import { f, firstQuery, n, on, state, useOptions } from "./state.js";
import { byId, element, tell } from "./dom.js";
import { VARIANTS } from "./compare_view.js";
import { VIEWS } from "./views.js";

const LIT = { patch: 1, regions: 1, computed: 1 }; // what an address may ask the film strip to show
const WAIT = 250; // milliseconds before the address follows
const embedded = () => window.parent !== window;
let later = 0;
let host = null; // the address of the page around

// Everything that a copied link brings back: the mask, the query, the open tab and what is chosen in it.
export function settings() {
  const { options, query, key, pinned, view, layer, head, second, theme, patternA, patternB, lit } = state;
  const words = [writeSettings(options), `q=${query.t}.${query.i}`, `v=${view}`];
  if (pinned) words.push(`o=${key ? `${key.t}.${key.i}` : ""}`);
  if (layer >= 0 || head >= 0) words.push(`h=${layer}.${head}`);
  if (second in VARIANTS && second !== "global") words.push(`d=${second}`);
  if (view === "patterns") words.push(`a=${patternA}.${patternB}`);
  if (lit in LIT && lit !== "patch") words.push(`i=${lit}`);
  if (theme) words.push(`theme=${theme}`);
  if (asked) words.push(`lang=${german ? "de" : "en"}`);
  return words.join("&");
}

// Takes what is well-formed of such a text; the rest stays as it is.
export function restore(text) {
  const given = new URLSearchParams(text);
  const pair = (word, low, [most, most2]) => {
    const [a, b] = String(given.get(word) || "")
      .split(".")
      .map(Number);
    return Number.isInteger(a) && Number.isInteger(b) && a >= low && a < most && b >= low && b < most2 ? [a, b] : null;
  };
  const patch = (word) => {
    const found = pair(word, 0, [f, n]);
    return found && { t: found[0], i: found[1] };
  };
  useOptions(readSettings(text, state.options));
  if (patch("q"))
    Object.assign(state, {
      query: patch("q"),
      pinned: given.has("o"),
      key: patch("o"),
      keyPinned: Boolean(patch("o")),
    });
  else state.query = firstQuery();
  if (Object.hasOwn(VIEWS, given.get("v") || "")) state.view = given.get("v");
  if (Object.hasOwn(VARIANTS, given.get("d") || "")) state.second = given.get("d");
  const named = String(given.get("a") || "").split(".");
  if (PAGE.patterns && named.every((name) => PAGE.patterns.names.includes(name)) && named.length === 2)
    [state.patternA, state.patternB] = named;
  state.lit = Object.hasOwn(LIT, given.get("i") || "") ? given.get("i") : "patch";
  const chosen = PAGE.attention && pair("h", -1, [PAGE.attention.layers, PAGE.attention.heads]);
  if (chosen) [state.layer, state.head] = chosen;
  if (["dark", "light"].includes(given.get("theme"))) state.theme = given.get("theme");
}

function remember() {
  clearTimeout(later);
  later = setTimeout(() => {
    const text = settings();
    if (embedded()) window.parent.postMessage({ iasa: "settings", text }, "*");
    else
      try {
        history.replaceState(null, "", `#${text}`);
      } catch {
        /* an address that cannot be changed keeps its old settings */
      }
  }, WAIT);
}

const address = () => `${(host || location.href).split("#")[0]}${host ? "#iasa?" : "#"}${settings()}`;

export async function copyLink() {
  const button = byId("link");
  try {
    await navigator.clipboard.writeText(address());
    button.textContent = say("Copied");
    setTimeout(() => {
      button.textContent = say("Copy link");
    }, 1500);
  } catch {
    tell(say("Copy this address; it holds all settings:"), element("textarea", { readOnly: true, value: address() }));
  }
}

// `reopen` shows what was restored, `repaint` the same in other colours.
export function onAddress(reopen, repaint) {
  on("settings", remember);
  remember();
  window.addEventListener("hashchange", (event) => {
    restore(new URL(event.newURL).hash.slice(1)); // location's own may be what `remember` has written since
    reopen();
  });
  if (!embedded()) return;
  const sayHeight = () => window.parent.postMessage({ iasa: "size", height: byId("explorer").offsetHeight + 4 }, "*");
  window.addEventListener("message", (event) => {
    if (event.source !== window.parent || !event.data || event.data.iasa !== "host") return;
    host = String(event.data.href || "");
    if (["dark", "light"].includes(event.data.theme) && event.data.theme !== state.around) {
      state.around = event.data.theme;
      repaint();
    }
    sayHeight(); // without waiting for the observer, which sleeps in a frame that is out of sight
    if (event.data.text) {
      restore(String(event.data.text));
      reopen();
    }
  });
  new ResizeObserver(sayHeight).observe(byId("explorer"));
  window.addEventListener("resize", sayHeight); // the page around has drawn its frame anew, at the height it began with
  window.parent.postMessage({ iasa: "hello" }, "*");
}
