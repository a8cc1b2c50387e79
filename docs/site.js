// What scrolls sideways can be reached by the keyboard; the search and the code bars have names; no table head is empty.
document$.subscribe(() => {
  const reach = (element) => element.hasAttribute("tabindex") || element.setAttribute("tabindex", "0");
  document.querySelectorAll("pre > code").forEach((code) => {
    reach(code);
    // The theme takes it away again when the window's width changes.
    new MutationObserver(() => reach(code)).observe(code, { attributeFilter: ["tabindex"] });
  });
  document.querySelectorAll(".md-code__nav").forEach((nav, i) => nav.setAttribute("aria-label", `Code ${i + 1}`));
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  document.querySelectorAll("thead th:empty").forEach((th) => th.replaceWith(document.createElement("td")));
  // The theme wraps tables when it gets to them.
  const wraps = () => document.querySelectorAll(".md-typeset__scrollwrap").forEach(reach);
  wraps();
  new MutationObserver(wraps).observe(document.body, { childList: true, subtree: true });
});
