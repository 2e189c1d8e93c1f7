"use strict";
// Filters the facts by key and by words. Without it the page shows everything, folded.
(() => {
  const filter = document.querySelector(".filter");
  if (!filter) return;
  const field = filter.querySelector("input");
  const chips = filter.querySelector(".chips");
  const found = document.getElementById("found");
  const keys = [...document.querySelectorAll(".keys > details")];
  const facts = new Map(keys.map((key) => [key, [...key.querySelectorAll(".fact")]]));
  const initially = new Map(keys.map((key) => [key, key.open]));
  const words = new Map();
  let chosen = null;

  const wordsOf = (fact, key) => {
    if (!words.has(fact)) words.set(fact, `${key}/${fact.firstElementChild.textContent}`.toLowerCase());
    return words.get(fact);
  };
  const apply = () => {
    const wanted = field.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const key of keys) {
      let matching = 0;
      for (const fact of facts.get(key)) {
        fact.hidden = !wanted.every((word) => wordsOf(fact, key.dataset.key).includes(word));
        matching += !fact.hidden;
      }
      key.hidden = (chosen !== null && chosen !== key) || matching === 0;
      key.open = wanted.length > 0 || chosen === key || (chosen === null && initially.get(key));
      if (!key.hidden) shown += matching;
    }
    found.textContent = wanted.length || chosen ? `${shown.toLocaleString("en")} facts` : "";
    for (const chip of chips.children) chip.setAttribute("aria-pressed", String(chip.target === chosen));
  };
  for (const key of keys) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = key.dataset.key;
    chip.target = key;
    chip.addEventListener("click", () => {
      chosen = chosen === key ? null : key;
      apply();
    });
    chips.append(chip);
  }
  let timer = 0;
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(apply, 120);
  });
  const reveal = () => {
    const place = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!place) return;
    const fact = place.closest(".fact");
    if (fact && fact.closest("[hidden]")) {
      field.value = "";
      chosen = null;
      apply();
    }
    for (let box = place.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
    (fact || place).scrollIntoView({ block: "start" });
  };
  addEventListener("hashchange", reveal);
  filter.hidden = false;
  apply();
  reveal();
})();
