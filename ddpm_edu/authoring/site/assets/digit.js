// live.html：控件、两张画布与一路的缩影；计算在 drawing.js 里
(() => {
  "use strict";

  const {form, progress, said, look} = Object.fromEntries(["form", "progress", "said", "look"].map(id => [id, document.getElementById(id)]));
  const FRAMES = 10;

  let walk = [], began = 0, loaded = false;
  const background = openBackground(document.getElementById("engine").textContent, receive, failed);

  // 表单 → 要画什么；不合规矩的数由浏览器拦下
  function request() {
    const value = name => form.elements[name].value;
    return {
      label: Number(value("label")), guidance: Number(value("guidance")), sampler: value("sampler"),
      knob: Number(value("knob")), steps: Number(value("steps")), seed: Number(value("seed")),
    };
  }

  // [-1, 1] 的像素画到画布的一角
  function paint(canvas, pixels, left = 0, top = 0) {
    const {side} = MODEL, image = new ImageData(side, side);
    pixels.forEach((value, i) => {
      const gray = Math.max(0, Math.min(255, Math.round((value + 1) * 127.5)));
      image.data.set([gray, gray, gray, 255], 4 * i);
    });
    canvas.getContext("2d").putImageData(image, left, top);
  }

  // 一路的第 k 个样子：x_t 与那一步猜的 x0；第 0 个是起点，还没有猜
  function show(k) {
    const {x, start, t, i} = walk[k];
    paint(document.getElementById("noisy"), x);
    if (start) paint(document.getElementById("start"), start);
    else clear("start");
    look.value = k;
    const where = start ? `第 ${k} / ${look.max} 步：在 t = ${t} 处猜 x̂₀，走到${i ? "更早的一步" : "底"}` : "起点：纯噪声 x_T，网络还没有看";
    document.getElementById("where").textContent = where;
  }

  function clear(id) {
    const canvas = document.getElementById(id);
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  }

  // 缩影：从起点到终点匀着挑 FRAMES 步，上排 x_t，下排 x̂₀
  function film() {
    const canvas = document.getElementById("film"), {side} = MODEL, total = Number(look.max);
    for (let column = 0; column < FRAMES; column++) {
      const frame = walk[Math.round(column * total / (FRAMES - 1))];
      if (!frame) continue;
      paint(canvas, frame.x, column * (side + 2));
      if (frame.start) paint(canvas, frame.start, column * (side + 2), side + 2);
    }
  }

  // 换了种子或步数：只把起点画出来
  function reset() {
    const {seed, steps} = request(), {normal} = ddpm.randomNumbers(seed);
    walk = [{x: noiseImage(MODEL.side, normal)}];
    look.max = progress.max = steps;
    progress.value = 0;
    look.disabled = true;
    clear("film");
    film();
    show(0);
  }

  function report(calls, doing) {
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    said.textContent = `${doing}：走了 ${walk.length - 1} / ${look.max} 步，调用网络 ${calls} 次，用了 ${seconds} 秒`;
  }

  function receive({i, t, x, start, calls}) {
    walk.push({i, t, x, start});
    progress.value = walk.length - 1;
    show(walk.length - 1);
    film();
    report(calls, i ? "正在画" : "画好了");
    form.dataset.calls = calls;
    if (!i) finish();
  }

  function failed(error) {
    said.textContent = `画不下去：${error}。刷新这一页再试；还不行，请换一个新一些的浏览器`;
    finish();
  }

  function finish() {
    form.dataset.state = "done";
    form.elements.stop.disabled = true;
    look.disabled = walk.length < 2;
  }

  function draw() {
    reset();
    began = performance.now();
    form.dataset.state = "drawing";
    form.elements.stop.disabled = false;
    said.textContent = loaded ? "正在画" : "正在画：第一次要先读进权重";
    background.start("draw", {...request(), model: loaded ? null : MODEL});
    loaded = true;
  }

  function stop() {
    background.stop();
    report(form.dataset.calls || 0, "停下了");
    finish();
  }

  // 控件旁边的数，与换采样器时旋钮的名字
  function describe() {
    const {sampler, label} = request();
    for (const name of ["guidance", "steps", "knob"]) form.elements[`${name}Shown`].value = form.elements[name].value;
    document.getElementById("knobName").textContent = ddpm.SAMPLERS[sampler].knob;
    form.elements.guidance.disabled = label < 0;
  }

  form.addEventListener("submit", event => {
    event.preventDefault();
    draw();
  });
  form.addEventListener("input", () => {
    describe();
    if (form.dataset.state === "drawing") stop();
    if (form.reportValidity()) reset();
  });
  form.elements.stop.addEventListener("click", stop);
  form.elements.another.addEventListener("click", () => {
    form.elements.seed.value = Number(form.elements.seed.value) + 1;
    draw();
  });
  look.addEventListener("input", () => show(Number(look.value)));
  describe();
  reset();
})();
