// Words and numbers in the reader's language: English stands in the code, PAGE.words holds the German of each text.

import { PAGE, RULE } from "./data.js";

export const asked = typeof location === "undefined" ? null : new URLSearchParams(location.hash.slice(1)).get("lang");
export const german = String(asked || PAGE.language || (typeof navigator === "undefined" ? "en" : navigator.language))
  .toLowerCase()
  .startsWith("de");

// A text with its {names} filled in.
export const say = (text, values = {}) =>
  ((german && PAGE.words[text]) || text).replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
export const listed = (items) =>
  items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} ${say("and")} ${items[items.length - 1]}`;
export const ordinal = (i) => {
  if (german) return `${i}.`;
  const teen = i % 100 > 10 && i % 100 < 14;
  return i + (teen ? "th" : ["th", "st", "nd", "rd"][i % 10] || "th");
};

const decimal = (x, digits) => (german ? x.toFixed(digits).replace(".", ",") : x.toFixed(digits));
export const count = (x) => Math.round(x).toLocaleString(german ? "de" : "en");
export const figure = (x) => (x === Infinity ? "∞" : decimal(x, x < 0.1 ? 3 : 2));
export const percent = (share) => `${decimal(100 * share, share < 0.0995 ? 2 : 1)}${german ? "\u00a0" : ""}%`;
export const times = (x) => `${decimal(x, x < 9.95 ? 2 : 1)}×`;
export const flops = (x) =>
  x >= 1e12 ? `${decimal(x / 1e12, 2)} T` : x >= 1e9 ? `${decimal(x / 1e9, 2)} G` : `${decimal(x / 1e6, 1)} M`;

export const namesOf = (bits) => RULE.regions.filter((_, r) => (bits >> r) & 1).map((name) => say(name));

// The template's own texts.
export function translateTemplate(root) {
  document.documentElement.lang = german ? "de" : "en";
  if (!german) return;
  for (const part of root.querySelectorAll("*")) {
    if (!part.childElementCount && part.textContent.trim()) part.textContent = say(part.textContent.trim());
    for (const name of ["aria-label", "title"])
      if (part.hasAttribute(name)) part.setAttribute(name, say(part.getAttribute(name)));
  }
}
