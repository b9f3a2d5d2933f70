// What Python hands over: the page's JSON element, or in node what the test has put in its place.

export const PAGE =
  typeof document === "undefined" ? globalThis.iasaPage : JSON.parse(document.getElementById("data").textContent);
export const RULE = PAGE.rule; // the mask's constants, from iasa/explorer/constants.py: none is typed a second time here

export const range = (start, stop) => Array.from({ length: stop - start }, (_, i) => start + i);
export const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

// Base64 <-> the numbers behind it, as iasa.explorer.page and AttentionPlan.to_json write them.
export function decode(text, Kind) {
  const raw = atob(text),
    bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Kind(bytes.buffer);
}
export function encode(array) {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let raw = "";
  for (let i = 0; i < bytes.length; i += 4096) raw += String.fromCharCode(...bytes.subarray(i, i + 4096));
  return btoa(raw);
}
