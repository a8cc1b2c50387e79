// Code that scrolls sideways can be reached by the keyboard, and the search has a name.
document$.subscribe(() => {
  document.querySelectorAll("pre > code").forEach((code) => {
    const reach = () => code.hasAttribute("tabindex") || code.setAttribute("tabindex", "0");
    reach();
    // The theme takes it away again when the window's width changes.
    new MutationObserver(reach).observe(code, { attributeFilter: ["tabindex"] });
  });
  document.querySelectorAll(".md-code__nav").forEach((nav, i) => nav.setAttribute("aria-label", `Code ${i + 1}`));
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
});
