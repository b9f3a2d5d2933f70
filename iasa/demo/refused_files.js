() => {
  const said = SAID; // by language: the sentences, and what upload boxes accept
  const ofKind = /^Invalid file types?: (.*)\. Only (.*) allowed\.$/s;
  const ofSize = /^File\(s\) exceed the maximum allowed size of ([\d.]+) Mb: "(.*)"$/s;
  const fill = (sentence, values) => sentence.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const inWords = (text, { kind, size, accepted }) => {
    const [, wrong, types] = text.match(ofKind) ?? [];
    if (wrong) {
      const known = Object.keys(accepted).find((type) => types.includes(type));
      return fill(kind, { name: wrong, kinds: accepted[known] ?? types });
    }
    const [, most, large] = text.match(ofSize) ?? [];
    return large && fill(size, { name: large, most: Number(most) });
  };
  const rewrite = () => {
    const language = said[document.documentElement.lang.slice(0, 2)] ?? said.en;
    for (const toast of document.querySelectorAll(".toast-body")) {
      const title = toast.querySelector(".toast-title");
      for (const line of toast.querySelectorAll("[data-testid=toast-text]")) {
        const sentence = inWords(line.textContent.trim(), language);
        if (!sentence) continue;
        line.textContent = sentence;
        if (title?.firstChild) title.firstChild.data = language.title;
      }
    }
  };
  new MutationObserver(rewrite).observe(document.body, { childList: true, subtree: true });
}
