
"use strict";
const page = JSON.parse(document.getElementById("data").textContent);
const entries = page.entries;
const byId = (id) => document.getElementById(id);
const sheet = byId("sheet"), large = byId("large"), search = byId("search");
const SHOWN_AT_ONCE = 120;
const address = (folder, name) => folder + encodeURIComponent(name);
const thumbnail = (entry) => (entry.thumbnail ? address(page.thumbnails, entry.thumbnail) : address(page.pictures, entry.file));

let matching = [], shown = 0, at = -1;

function element(name, text, properties) {
  const made = Object.assign(document.createElement(name), properties);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Filters

const selects = new Map();
function addFilter({ name, own, values }) {
  // Without a name: that would hide what the form has under it, such as its `append`.
  const label = element("label", name + " "), select = element("select");
  select.append(element("option", "all", { value: "" }));
  for (const value of values) select.append(element("option", value === "" ? "(none)" : value, { value: "=" + value }));
  select.addEventListener("change", filter);
  label.append(select);
  byId("filters").append(label);
  selects.set(select, (entry) => {
    const place = own ? entry : entry.columns ?? {};
    return String((Object.hasOwn(place, name) ? place[name] : "") ?? "");
  });
}

function matches(entry, words) {
  for (const [select, value] of selects) {
    if (select.value && "=" + value(entry) !== select.value) return false;
  }
  if (!words.length) return true;
  entry.text ??= (entry.prompt + " " + (entry.file || "")).toLocaleLowerCase();
  return words.every((word) => entry.text.includes(word));
}

function words() {
  return search.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
}

function filter() {
  const wanted = words();
  matching = [];
  for (let index = entries.length - 1; index >= 0; index--) if (matches(entries[index], wanted)) matching.push(index);
  shown = 0;
  sheet.replaceChildren();
  showMore();
  tellCount();
}

function tellCount() {
  const all = entries.length.toLocaleString("en"), some = matching.length.toLocaleString("en");
  const failed = entries.reduce((sum, entry) => sum + (entry.status !== "done"), 0);
  byId("count").textContent = (matching.length === entries.length ? all : some + " of " + all) + (entries.length === 1 ? " prompt" : " prompts")
    + (failed ? ", " + failed.toLocaleString("en") + " without a picture" : "") + (page.older ? ", the newest of " + page.older.toLocaleString("en") : "");
  byId("nothing").hidden = matching.length > 0;
  byId("nothing").textContent = entries.length ? "No picture matches the search and the filters."
    : page.live ? "No pictures yet: they appear here as they arrive." : "There are no pictures.";
}

// The contact sheet, the newest first: as many as have been scrolled to

function tile(index) {
  const entry = entries[index], item = element("li"), button = element("button", undefined, { type: "button", className: "tile" });
  if (entry.file) {
    button.append(element("img", undefined, { src: thumbnail(entry), alt: "", loading: "lazy", decoding: "async" }));
  } else {
    button.append(element("span", entry.status + ": " + entry.reason, { className: "reason" }));
  }
  button.append(element("span", entry.prompt, { className: "words" }));
  button.dataset.index = index;
  item.append(button);
  return item;
}

function showMore() {
  const end = Math.min(matching.length, shown + SHOWN_AT_ONCE), tiles = document.createDocumentFragment();
  for (; shown < end; shown++) tiles.append(tile(matching[shown]));
  sheet.append(tiles);
}

new IntersectionObserver((seen) => {
  if (seen.some((each) => each.isIntersecting) && shown < matching.length) {
    showMore();
    watchEnd();
  }
}, { rootMargin: "800px" }).observe(byId("more"));

// An end that stays in view is not told of again.
function watchEnd() {
  requestAnimationFrame(() => {
    if (shown < matching.length && byId("more").getBoundingClientRect().top < innerHeight + 800) {
      showMore();
      watchEnd();
    }
  });
}

sheet.addEventListener("click", (event) => {
  const button = event.target.closest(".tile");
  if (button) open(matching.indexOf(Number(button.dataset.index)));
});

sheet.addEventListener("keydown", (event) => {
  const tiles = [...sheet.querySelectorAll(".tile")], here = tiles.indexOf(document.activeElement);
  if (here < 0) return;
  const across = getComputedStyle(sheet).gridTemplateColumns.split(" ").length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[event.key];
  const target = step && tiles[here + step];
  if (!target) return;
  event.preventDefault();
  target.focus();
});

// The large view

const FACTS = [
  ["status", "status"], ["reason", "reason"], ["pixels", "pixels"], ["size", "size"], ["model", "model"], ["created", "created"],
  ["elapsed", "time taken"], ["attempts", "attempts"], ["revised", "drawn as"], ["file", "file"],
];

function open(place) {
  at = place;
  const entry = entries[matching[place]];
  const picture = byId("large-picture");
  picture.hidden = !entry.file;
  if (entry.file) picture.src = address(page.pictures, entry.file);
  else picture.removeAttribute("src");
  picture.alt = entry.prompt;
  byId("large-prompt").textContent = entry.prompt;
  const facts = byId("facts");
  facts.replaceChildren();
  const tell = (name, value) => {
    if (value !== undefined && value !== null && value !== "") facts.append(element("dt", name), element("dd", String(value)));
  };
  for (const [name, label] of FACTS) {
    const value = entry[name];
    tell(label, name === "elapsed" && value !== undefined && value !== null ? value + " s" : value);
  }
  for (const [name, value] of Object.entries(entry.columns || {})) tell(name, typeof value === "object" ? JSON.stringify(value) : value);
  byId("file").hidden = !entry.file;
  if (entry.file) byId("file").href = address(page.pictures, entry.file);
  byId("previous").disabled = place === 0;
  byId("next").disabled = place === matching.length - 1;
  byId("copy").textContent = "Copy prompt";
  if (!large.open) large.showModal();
  if (!large.contains(document.activeElement)) large.focus(); // it was on a button that is disabled now
}

function step(by) {
  const place = Math.max(0, Math.min(matching.length - 1, at + by));
  if (place !== at) open(place);
}

document.addEventListener("keydown", (event) => {
  if (!large.open) return;
  const by = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  step(by);
});
large.addEventListener("click", (event) => { if (event.target === large) large.close(); });
large.addEventListener("close", () => {
  while (shown <= at && shown < matching.length) showMore();
  sheet.children[at]?.firstChild.focus();
});
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("close").addEventListener("click", () => large.close());
byId("copy").addEventListener("click", async () => {
  const prompt = entries[matching[at]].prompt;
  try {
    await navigator.clipboard.writeText(prompt);
  } catch {
    const field = element("textarea", undefined, { value: prompt });
    large.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  byId("copy").textContent = "Copied";
});

byId("filters").addEventListener("submit", (event) => event.preventDefault());
search.addEventListener("input", filter);
page.filters.forEach(addFilter);
filter();

// Pictures that arrive while a batch goes on

if (page.live) {
  const places = new Map(entries.map((entry, index) => [entry.file, index]));
  new EventSource("events?since=" + page.place).onmessage = (event) => {
    const entry = JSON.parse(event.data);
    if (places.has(entry.file)) return;
    places.set(entry.file, entries.length);
    entries.push(entry);
    if (matches(entry, words())) {
      matching.unshift(entries.length - 1);
      sheet.prepend(tile(entries.length - 1));
      shown++;
      if (large.open) at++;
    }
    tellCount();
  };
}
