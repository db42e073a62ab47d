// 把页面里静态的面板换成活的：<figure class="panel" data-panel="beta_panel"><img …></figure>
// 只要页面用 defer 载入这一个文件；没有描述的面板、没有 JavaScript 的浏览器，看到的仍是那张图
(() => {
  "use strict";
  const ddpm = globalThis.ddpm = globalThis.ddpm || {};
  const HERE = document.currentScript.src.replace(/[^/]*$/, "");
  const FILES = ["diffusion.js", "text.js", "panel_compute.js", "pictures.js", "chart.js", "panels-data.js"];

  // ---- 描述里带着的数 ----

  const ARRAYS = {f8: Float64Array, f4: Float32Array, i4: Int32Array, u1: Uint8Array};

  function unpack(value) {
    if (!value || value.base64 === undefined) return value;
    return new ARRAYS[value.kind](Uint8Array.from(atob(value.base64), c => c.charCodeAt(0)).buffer);
  }

  // ---- 控件：原生的输入，键盘天然可用 ----

  const decimals = step => (String(step).split(".")[1] || "").length;

  // 滑块的第 k 格是什么数；对数滑块的 min、step 是 10 的幂次
  function valueAt({kind, min, step}, k) {
    const place = Number((min + k * step).toFixed(decimals(step)));
    return kind !== "log" ? place : Number.isInteger(place) ? Number(`1e${place}`) : 10 ** place;
  }

  function slider(control, id, changed) {
    const place = control.kind === "log" ? Math.log10(control.value) : control.value;
    const input = Object.assign(document.createElement("input"), {type: "range", id, min: 0, max: Math.round((control.max - control.min) / control.step), step: 1});
    input.value = Math.round((place - control.min) / control.step);
    const readout = ddpm.html("output", "readout");
    readout.htmlFor = id;
    const say = value => {
      readout.textContent = ddpm.format(value, control.format);
      input.setAttribute("aria-valuetext", readout.textContent);
    };
    say(control.value);
    input.addEventListener("input", () => {
      const value = valueAt(control, input.valueAsNumber);
      say(value);
      changed(value);
    });
    return [input, readout];
  }

  function choice(control, id, changed) {
    const select = Object.assign(document.createElement("select"), {id});
    control.options.forEach(([label, value], i) => select.add(new Option(label, i, false, value === control.value)));
    select.addEventListener("change", () => changed(control.options[select.value][1]));
    return [select];
  }

  function checkbox(control, id, changed) {
    const input = Object.assign(document.createElement("input"), {type: "checkbox", id, checked: control.value});
    input.addEventListener("change", () => changed(input.checked));
    return [input];
  }

  const MAKERS = {slider, log: slider, int: slider, choice, checkbox};

  function row(control, id, changed) {
    const label = Object.assign(ddpm.html("label", "", ddpm.words(control.label)), {htmlFor: id}), line = ddpm.html("div", `control ${control.kind}`);
    const parts = MAKERS[control.kind](control, id, changed);
    line.append(...control.kind === "checkbox" ? [...parts, label] : [label, ...parts]);
    return line;
  }

  // ---- 一块面板 ----

  function mount(figure, order) {
    const name = figure.dataset.panel, description = ddpm.panels[name], compute = ddpm.compute[name];
    if (!description || !compute) return;
    const extra = Object.fromEntries(Object.entries(description.extra).map(([key, value]) => [key, unpack(value)]));
    const values = Object.fromEntries(description.controls.map(control => [control.name, control.value]));
    const view = ddpm.html("div", "live"), note = ddpm.html("p", "note"), charts = [];
    note.setAttribute("aria-live", "polite");

    let waiting = false;
    function update() {
      waiting = false;
      const {data, note: text} = compute(values, extra);
      for (const chart of charts) chart.update(data);
      note.innerHTML = text;
    }

    view.append(...description.controls.map(control => row(control, `panel-${order}-${control.name}`, value => {
      values[control.name] = value;
      // 拖得再快，一帧也只画一次，画的是最后的值
      if (!waiting) requestAnimationFrame(update);
      waiting = true;
    })), note);
    for (const axes of description.plot.rows) {
      const line = ddpm.html("div", "charts");
      axes.forEach((axis, i) => {
        const chart = ddpm.chart(axis);
        chart.node.style.flexGrow = description.plot.ratios ? description.plot.ratios[i] : 1;
        charts.push(chart);
        line.append(chart.node);
      });
      view.append(line);
    }
    for (const chart of charts) chart.update(description.fixed);
    update();
    figure.prepend(view);
    figure.classList.add("alive");
  }

  // 页面是深是浅看字的颜色，不问页面用什么办法换；曲线的颜色跟着换
  function followTheme(figures) {
    const look = () => {
      for (const figure of figures) {
        const [r, g, b] = getComputedStyle(figure).color.match(/[\d.]+/g).map(Number);
        figure.classList.toggle("dark", 0.2126 * r + 0.7152 * g + 0.0722 * b > 140);
      }
    };
    for (const node of [document.documentElement, document.body]) new MutationObserver(look).observe(node, {attributes: true});
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", look);
    document.addEventListener("transitionend", look);
    look();
  }

  function start() {
    const figures = [...document.querySelectorAll("figure.panel[data-panel]")];
    if (!figures.length) return;
    document.head.append(Object.assign(document.createElement("link"), {rel: "stylesheet", href: `${HERE}panels.css`}));
    const scripts = FILES.map(file => Object.assign(document.createElement("script"), {src: HERE + file, async: false}));
    scripts[scripts.length - 1].onload = () => {
      figures.forEach(mount);
      followTheme(figures);
    };
    document.head.append(...scripts);
  }

  Object.assign(ddpm, {unpack, valueAt});
  start();
})();
