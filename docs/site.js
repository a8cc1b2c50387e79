// Code that scrolls sideways can be reached by the keyboard, and the search has a name.
document$.subscribe(() => {
  document.querySelectorAll("pre > code").forEach((code) => code.setAttribute("tabindex", "0"));
  document.querySelectorAll(".md-code__nav").forEach((nav, i) => nav.setAttribute("aria-label", `Code ${i + 1}`));
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
});
