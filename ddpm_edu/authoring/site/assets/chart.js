// 一个坐标轴：SVG 里的刻度与曲线，四周的字是 HTML。照实际的像素画，页面窄了图变小，字不变小
(() => {
  "use strict";
  const ddpm = globalThis.ddpm = globalThis.ddpm || {};
  const SVG = "http://www.w3.org/2000/svg", FAR = 1e5;
  const DASHES = {"--": [3.7, 1.6], ":": [1, 1.65], "-.": [6.4, 1.6, 1, 1.6]};

  function html(tag, className, inside = "") {
    const node = document.createElement(tag);
    node.className = className;
    node.innerHTML = inside;
    return node;
  }

  function svg(tag, attributes, parent) {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (parent) parent.append(node);
    return node;
  }

  // 轴上的数 → 像素
  function scale({range: [low, high], log}, from, to) {
    const place = log ? Math.log10 : x => x, start = place(low), ratio = (to - from) / (place(high) - start);
    return x => {
      const at = from + (place(x) - start) * ratio;
      // 对数轴上的 0 落在无穷远，路径里写不了
      return Math.round(10 * (at > FAR ? FAR : at < -FAR ? -FAR : at)) / 10;
    };
  }

  // matplotlib 的线宽以点计，虚线的段长是线宽的倍数
  function strokeOf(line) {
    const width = 1.25 * line.width, dashes = (DASHES[line.style] || []).map(part => part * width);
    return {class: `stroke ${line.color}`, "stroke-width": width, "stroke-dasharray": dashes.join(" ")};
  }

  function path(x, y, across, down, steps) {
    if (steps) [x, y] = staircase(x, y);
    const parts = new Array(x.length);
    for (let i = 0; i < x.length; i++) parts[i] = `${across(x[i])} ${down(y[i])}`;
    return parts.length ? `M${parts.join("L")}` : "";
  }

  // 台阶：每个数占到左右邻居的正中
  function staircase(x, y) {
    const left = [], up = [];
    for (let i = 0; i < x.length; i++) {
      left.push(i ? (x[i - 1] + x[i]) / 2 : x[0], i + 1 < x.length ? (x[i] + x[i + 1]) / 2 : x[i]);
      up.push(y[i], y[i]);
    }
    return [left, up];
  }

  // 挨得太近的刻度不写；先保两端
  function readable(ticks, across) {
    const width = text => 7 * text.length + 6, kept = [];
    const fits = tick => kept.every(other => Math.abs(across(other[0]) - across(tick[0])) >= (width(other[1]) + width(tick[1])) / 2);
    for (const tick of [ticks[0], ticks[ticks.length - 1], ...ticks.slice(1, -1)]) if (tick && !kept.includes(tick) && fits(tick)) kept.push(tick);
    return kept;
  }

  function legend(lines) {
    const box = html("div", "legend");
    for (const line of lines) {
      const item = html("span", "entry"), swatch = svg("svg", {width: 28, height: 10, "aria-hidden": "true"}, item);
      if (line.dot) svg("circle", {cx: 14, cy: 5, r: 4, class: `fill ${line.color}`}, swatch);
      else svg("line", {x1: 0, x2: 28, y1: 5, y2: 5, ...strokeOf(line)}, swatch);
      item.append(html("span", "", ddpm.words(line.label)));
      box.append(item);
    }
    return box;
  }

  let count = 0;

  // axis：面板描述里的一个坐标轴 → {node, update(data)}；data 里有它的曲线就画，没有的不变
  function curves(axis) {
    const node = html("div", "chart"), clip = `panel-clip-${count++}`, known = {};
    if (axis.title) node.append(html("div", "chart-title", ddpm.words(axis.title)));
    if (axis.legend.length) node.append(legend(axis.legend.map(name => axis.lines.find(line => line.name === name))));
    const middle = html("div", "chart-middle"), side = html("div", "y-label", `<span class="turned">${ddpm.words(axis.y.label)}</span>`), room = html("div", "room");
    const bottom = html("div", "x-label", ddpm.words(axis.x.label));
    if (axis.y.label) middle.append(side);
    middle.append(room);
    node.append(middle, bottom);
    const canvas = svg("svg", {role: "img", "aria-label": [axis.title && node.firstChild.textContent, side.textContent, bottom.textContent].filter(Boolean).join("，")}, room);
    const opening = svg("rect", {}, svg("clipPath", {id: clip}, svg("defs", {}, canvas)));
    const frame = svg("g", {}, canvas), inside = svg("g", {"clip-path": `url(#${clip})`}, canvas), above = svg("g", {}, canvas);
    const drawn = axis.lines.map(line => [line, line.dot ? svg("g", {class: `fill ${line.color}`}, above)
      : svg("path", {...strokeOf(line), fill: "none", "stroke-linejoin": "round", "data-curve": line.name}, inside)]);
    const ticksX = axis.x.ticks.map(([at, text]) => [at, ddpm.tick(text)]), ticksY = axis.y.ticks.map(([at, text]) => [at, ddpm.tick(text)]);
    let across, down;

    function lay() {
      // 一个数字宽 7 个像素；最右边的刻度有一半伸出去
      const left = 8 + 7 * Math.max(...ticksY.map(([, text]) => text.length)), beyond = 6 + 3.5 * ticksX[ticksX.length - 1][1].length;
      const wide = room.clientWidth, right = wide - beyond, top = 8;
      if (wide < left + 40) return;
      const high = Math.min(250, Math.max(180, 0.62 * wide)), floor = top + high;
      for (const [name, value] of Object.entries({viewBox: `0 0 ${wide} ${floor + 20}`, width: wide, height: floor + 20})) canvas.setAttribute(name, value);
      across = scale(axis.x, left, right);
      down = scale(axis.y, floor, top);
      for (const [name, value] of Object.entries({x: left, y: top, width: right - left, height: high})) opening.setAttribute(name, value);
      frame.replaceChildren();
      for (const [at] of ticksX) svg("path", {class: "grid", d: `M${across(at)} ${top}V${floor}`}, frame);
      for (const [at] of ticksY) svg("path", {class: "grid", d: `M${left} ${down(at)}H${right}`}, frame);
      svg("path", {class: "edge", d: `M${left} ${top}V${floor}H${right}`}, frame);
      for (const [at, text] of readable(ticksX, across)) svg("text", {x: across(at), y: floor + 15, "text-anchor": "middle"}, frame).textContent = text;
      for (const [at, text] of ticksY) svg("text", {x: left - 5, y: down(at) + 4, "text-anchor": "end"}, frame).textContent = text;
      draw();
    }

    function draw() {
      for (const [line, shape] of across ? drawn : []) {
        if (!known[line.name]) continue;
        const [x, y] = known[line.name];
        if (line.dot) shape.replaceChildren(...Array.from(x, (value, i) => svg("circle", {cx: across(value), cy: down(y[i]), r: 4.2})));
        else shape.setAttribute("d", path(x, y, across, down, line.steps));
      }
    }

    new ResizeObserver(lay).observe(room);
    return {node, update(data) {
      for (const {name} of axis.lines) if (data[name]) known[name] = data[name];
      draw();
    }};
  }

  // 一张方的灰度图，值在 [-1, 1]；越界的截断
  function image(axis) {
    const node = html("div", "chart picture", `<div class="chart-title">${ddpm.words(axis.title)}</div>`), canvas = html("canvas", "");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", node.textContent);
    node.append(canvas);
    return {node, update(data) {
      const values = data[axis.image];
      if (!values) return;
      const side = Math.sqrt(values.length);
      canvas.width = canvas.height = side;
      const pixels = new ImageData(side, side);
      values.forEach((value, i) => {
        pixels.data.fill(127.5 * value + 128, 4 * i, 4 * i + 3);
        pixels.data[4 * i + 3] = 255;
      });
      canvas.getContext("2d").putImageData(pixels, 0, 0);
    }};
  }

  Object.assign(ddpm, {chart: axis => axis.image ? image(axis) : curves(axis), html});
})();
