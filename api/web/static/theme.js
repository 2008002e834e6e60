"use strict";
// Sets the theme before the page is painted; the choice stays in this browser.
(function () {
  const themes = ["auto", "light", "dark"];
  const stored = function () {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // Storage may be switched off.
    }
  };
  const show = function (theme) {
    if (theme === "auto") {
      delete document.documentElement.dataset.theme;
    } else {
      document.documentElement.dataset.theme = theme;
    }
  };
  let theme = themes.includes(stored()) ? stored() : "auto";
  show(theme);
  document.addEventListener("DOMContentLoaded", function () {
    const toggle = document.querySelector("[data-theme-toggle]");
    const name = function () {
      toggle.querySelector("span").textContent = theme + " theme";
      toggle.setAttribute("aria-label", "Theme: " + theme);
    };
    toggle.hidden = false;
    name();
    toggle.addEventListener("click", function () {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      try {
        localStorage.setItem("theme", theme);
      } catch {
        // Then it holds for this page only.
      }
      show(theme);
      name();
    });
  });
})();
