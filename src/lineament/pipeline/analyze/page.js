"use strict";
(() => {
  const names = JSON.parse(document.getElementById("names").textContent);
  const tip = document.getElementById("tip");

  const words = (element) => {
    if (element.classList.contains("point")) {
      const name = names[Number(element.dataset.i)] ?? element.dataset.i;
      const place = ["cx", "cy"].map((axis) => Number(element.getAttribute(axis)).toFixed(1));
      const sure = element.dataset.c === undefined ? "" : `\nconfidence ${element.dataset.c}`;
      return `${name}\nx ${place[0]}, y ${place[1]} px${sure}`;
    }
    return element.closest(".face").dataset.tip;
  };

  const show = (element, x, y) => {
    tip.textContent = words(element);
    tip.hidden = false;
    // Beside the pointer, and never beyond the window.
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 4))}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - height - 4))}px`;
  };
  const hide = () => { tip.hidden = true; };

  const target = (event) => (event.target instanceof Element ? event.target.closest(".point, .face") : null);
  document.addEventListener("pointermove", (event) => {
    const element = target(event);
    if (element) show(element, event.clientX, event.clientY);
    else hide();
  });
  document.addEventListener("pointerleave", hide);
  document.addEventListener("focusin", (event) => {
    const element = target(event);
    if (!element) return;
    const { right, top } = element.getBoundingClientRect();
    show(element, right, top);
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  document.addEventListener("scroll", hide, { passive: true });

  for (const box of document.querySelectorAll("[data-toggle]")) {
    box.addEventListener("change", () => document.body.classList.toggle(`no-${box.dataset.toggle}`, !box.checked));
  }
})();
