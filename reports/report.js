"use strict";
(() => {
  const { strings, lists } = JSON.parse(document.getElementById("data").textContent);
  const say = (index) => strings[index];
  const order = new Intl.Collator("en", { numeric: true }).compare;
  const count = (number) => number.toLocaleString("en");

  function make(tag, className, ...children) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children);
    return node;
  }

  function link(text, anchor) {
    const node = make("a", "", text);
    node.href = "#" + encodeURIComponent(anchor);
    return node;
  }

  // The picture of the hours, as Python draws it: bars for what was seen, boxes where nobody watched.
  function hoursPicture(letters, step) {
    const part = (name, className, path, fill, stroke) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries({ class: className, d: path, fill, stroke })) {
        if (value) node.setAttribute(key, value);
      }
      return node;
    };
    let bars = "";
    let gaps = "";
    for (const { 0: run, index } of letters.matchAll(/x+|[1-9]/g)) {
      const high = 2 * run;
      if (run[0] !== "x") bars += `M${index * 4} 18v-${high}h3v${high}z`;
      else gaps += `M${index * 4} 1h${run.length * 4 - 1}v16h-${run.length * 4 - 1}z`;
    }
    const svg = part("svg", "hours");
    const width = letters.length * 4;
    svg.setAttribute("viewBox", `0 0 ${width} 18`);
    svg.setAttribute("width", width);
    svg.setAttribute("height", 18);
    svg.setAttribute("role", "img");
    const seen = letters.replace(/[x0]/g, "").length;
    const missing = letters.split("x").length - 1;
    const unit = step === "1" ? "hours" : `spans of ${step} hours`;
    const gap = missing ? `, ${missing} not watched all the time` : "";
    svg.setAttribute("aria-label", `seen in ${seen} of ${letters.length} ${unit}${gap}`);
    svg.append(part("path", "gap", gaps, "none", "#8b95a3"), part("path", "seen", bars, "#b3261e"));
    return svg;
  }

  // A row that Python did not render, after the first row that it did: same cells, other words.
  function tableRow(row, first, step) {
    const node = first.cloneNode(true);
    [...node.children].forEach((cell, column) => {
      const text = say(row[column]);
      if ("hours" in cell.dataset) return cell.replaceChildren(hoursPicture(text, step));
      (cell.querySelector("code") || cell).textContent = text;
      if (cell.classList.contains("number")) cell.classList.toggle("zero", text === "0" || text === "–");
    });
    const anchor = row.length > node.children.length && say(row[node.children.length]);
    if (anchor) node.firstElementChild.replaceChildren(link(say(row[0]), anchor));
    return node;
  }

  // A line whose first letter is * says something that the other side does not.
  function figure([caption, lines], side) {
    const code = make("code", "");
    for (const line of lines.map(say)) {
      code.append(line[0] === "*" ? make("mark", side, line.slice(1)) : line.slice(1), "\n");
    }
    const pre = make("pre", "", code);
    pre.tabIndex = 0;
    pre.setAttribute("role", "group");
    pre.setAttribute("aria-label", say(caption));
    return make("figure", "", make("figcaption", "", say(caption)), pre);
  }

  function finding(row) {
    const [id, anchor, level, title, field, at, detail, effect] = row.map(say);
    const head = make("p", "", make("span", "chip " + level, title), " ", link(id, anchor), " ");
    head.append(make("code", "", field), " ", make("span", "soft small", at));
    return make("li", "finding " + level, head, make("p", "", detail), make("p", "soft small", effect));
  }

  function policyRow(row) {
    const [anchor, standing, level, title, name, kind, note, meaning, rests, beside, findings, source, results] = row;
    const summary = make("summary", "", make("span", "chip standing " + say(standing), say(title)));
    summary.append(" ", make("span", "name", say(name)), " ", make("span", "kind", say(kind)));
    summary.append(" ", make("span", "push", say(note)));
    const body = make("div", "body", make("p", "meaning", say(meaning)));
    if (rests.length) {
      const items = rests.map((item) => make("li", "", say(item)));
      body.append(make("div", "rests", make("h3", "", "Rests on"), make("ul", "", ...items)));
    }
    if (beside.length) body.append(make("ul", "beside small soft", ...beside.map((item) => make("li", "", say(item)))));
    if (findings.length) body.append(make("ul", "list", ...findings.map(finding)));
    const right = make("div", "", ...results.map((text) => figure(text, "new")));
    body.append(make("div", "pair", make("div", "", figure(source, "gone")), right));
    const node = make("details", "item card", summary, body);
    node.id = say(anchor);
    return node;
  }

  class List {
    constructor(root) {
      this.nouns = root.dataset.nouns.split(" ");
      this.size = Number(root.dataset.page);
      this.isTable = root.dataset.kind === "table";
      this.body = root.querySelector("tbody, .rows");
      this.status = root.querySelector("[role=status]");
      this.items = [...this.body.children].map((node) => ({ node, id: node.id, ...node.dataset }));
      const first = this.items.length && this.items[0].node.cloneNode(true);
      for (const row of lists[root.dataset.list] || []) {
        const keys = this.isTable ? {} : { id: say(row[0]), standing: say(row[1]), level: say(row[2]) };
        this.items.push({ row, build: () => (this.isTable ? tableRow(row, first, root.dataset.step) : policyRow(row)), ...keys });
      }
      this.shown = this.items;
      this.start = 0;
      this.controls = {};
      for (const control of root.querySelectorAll("[data-control]")) this.controls[control.dataset.control] = control;
      root.querySelectorAll(".controls").forEach((bar) => (bar.hidden = false));
      root.addEventListener("input", () => this.choose());
      this.controls.open?.addEventListener("click", () => this.openAll());
      root.querySelectorAll("th[data-sort]").forEach((head) => this.sortable(head));
      if (this.items.length > this.size) this.addPager();
      this.draw();
    }

    addPager() {
      this.previous = make("button", "", "Previous");
      this.next = make("button", "", "Next");
      this.previous.type = this.next.type = "button";
      this.previous.addEventListener("click", () => this.turn(-this.size));
      this.next.addEventListener("click", () => this.turn(this.size));
      this.body.closest(".list-of").append(make("div", "pager", this.previous, this.next));
    }

    turn(by) {
      this.start += by;
      this.draw();
    }

    text(item) {
      item.text ??= (item.node ? item.node.textContent : item.row.flat(9).map(say).join(" ")).toLowerCase();
      return item.text;
    }

    name(item) {
      return item.row ? say(item.row[4]) : item.node.querySelector(".name").textContent;
    }

    cell(item, column) {
      return item.row ? say(item.row[column]) : item.node.children[column].textContent.trim();
    }

    choose() {
      const wanted = (control) => this.controls[control]?.value || "";
      const words = wanted("find").toLowerCase().split(/\s+/).filter(Boolean);
      this.shown = this.items.filter(
        (item) =>
          words.every((word) => this.text(item).includes(word)) &&
          ["standing", "level"].every((key) => !wanted(key) || item[key] === wanted(key)),
      );
      if (wanted("order") === "name") this.shown.sort((a, b) => order(this.name(a), this.name(b)));
      this.sort();
      this.start = 0;
      this.draw();
    }

    sortable(head) {
      const button = make("button", "", ...head.childNodes);
      button.type = "button";
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        head.parentNode.querySelectorAll("[aria-sort]").forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        this.column = { index: head.cellIndex, sign: up ? 1 : -1 };
        this.choose();
      });
    }

    sort() {
      if (!this.column) return;
      const { index, sign } = this.column;
      this.shown.sort((a, b) => sign * order(this.cell(a, index), this.cell(b, index)));
    }

    openAll() {
      const nodes = [...this.body.children];
      const open = nodes.some((node) => !node.open);
      nodes.forEach((node) => (node.open = open));
    }

    draw() {
      const page = this.shown.slice(this.start, this.start + this.size);
      this.body.replaceChildren(...page.map((item) => (item.node ??= item.build())));
      const all = `${count(this.items.length)} ${this.nouns[this.items.length === 1 ? 0 : 1]}`;
      const few = this.shown.length < this.items.length ? `${count(this.shown.length)} of ${all} match` : all;
      const range = page.length < this.shown.length ? `, showing ${this.start + 1} to ${this.start + page.length}` : "";
      this.status.textContent = few + range + ".";
      if (!this.next) return;
      this.previous.disabled = this.start === 0;
      this.next.disabled = this.start + this.size >= this.shown.length;
    }

    reveal(id) {
      if (!this.items.some((item) => item.id === id)) return;
      for (const control of Object.values(this.controls)) control.value = "";
      this.choose();
      this.start = Math.floor(this.shown.findIndex((item) => item.id === id) / this.size) * this.size;
      this.draw();
    }
  }

  const all = [...document.querySelectorAll("[data-list]")].map((root) => new List(root));
  function follow() {
    const id = decodeURIComponent(location.hash.slice(1));
    if (!id) return;
    if (!document.getElementById(id)) all.forEach((list) => list.reveal(id));
    const target = document.getElementById(id);
    if (!target) return;
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    target.scrollIntoView();
  }
  addEventListener("hashchange", follow);
  follow();
})();
