// plane.html：控件与两张平面。左边是点、加噪与箭头，右边是从噪声走回来
(() => {
  "use strict";

  const find = id => document.getElementById(id);
  const form = find("form"), left = new View(find("given")), right = new View(find("made"));
  const T = TABLE.length, COUNT = 200, MOST = 600, TRACED = 6, GRID = 17, SPACING = 0.12;

  let points = [], noise = [], cursor = [0, 0], network = null, journey = null, losses = [], least = 0;
  const background = openBackground(find("engine").textContent, learned, error => say("learnSaid", `练不下去：${error}。刷新这一页再试`));

  const value = name => form.elements[name].value;
  const number = name => Number(value(name));
  const say = (id, text) => { find(id).textContent = text; };

  // ---- 左：点、加噪、箭头 ----

  // 换一批点：网络是照旧的点练的，不再算数
  function setPoints(list) {
    const {normal} = ddpm.randomNumbers(7);
    points = list.slice(0, 2 * MOST);
    noise = points.map(normal);
    network = journey = null;
    teach(false);
    say("learnSaid", "还没有练。");
    say("madeSaid", "还没有采样。");
    redraw();
  }

  // 在 where 添一个点，落在画框里才算
  function addPoint(where) {
    if (where.every(c => Math.abs(c) < LIMIT)) setPoints([...points, ...where]);
  }

  // 此刻的猜测：照控件里选的那一位；网络还没有练、或一个点也没有，就是 null
  function guesser() {
    if (value("who") === "network") return network && ((x, t, now) => networkStart(network, x, t, now));
    return points.length ? (x, t, now) => idealStart(points, x, now) : null;
  }

  function drawGiven() {
    const t = number("t"), now = TABLE[t], guess = guesser();
    left.clear();
    left.dots(points, "data", 2, 0.55);
    left.dots(addNoise(points, noise, now), "noised", 2);
    if (guess && form.elements.arrows.checked) {
      const at = Float32Array.from({length: 2 * GRID ** 2}, (_, k) => {
        const i = k >> 1;
        return ((k & 1 ? Math.floor(i / GRID) : i % GRID) - (GRID - 1) / 2) * 2 * LIMIT / GRID;
      });
      const start = guess(at, t, now), move = at.map((c, k) => 0.25 * (Math.sqrt(now) * start[k] - c) / Math.sqrt(1 - now));
      left.arrows(at, move, "arrow", 0.26);
    }
    if (document.activeElement === left.canvas) left.cross(cursor, "data");
    say("signal", Math.sqrt(now).toFixed(2));
  }

  // ---- 右：走回来 ----

  function drawMade() {
    right.clear();
    right.dots(points, "data", 2, 0.35);
    if (!journey) return;
    if (form.elements.paths.checked) right.lines(journey.paths, "path", 1.2, 0.7);
    right.dots(journey.x, "sample", 2.4);
  }

  function redraw() {
    drawGiven();
    drawMade();
  }

  // 一帧走几步：整条链走一两秒，看得清
  function walk() {
    const mine = journey, each = Math.max(1, Math.round(number("steps") / 60));
    const advance = () => {
      if (mine !== journey || mine.halted) return;
      for (let k = 0; k < each && !mine.done; k++) {
        const {value: step, done} = mine.chain.next();
        if (done) mine.done = true;
        else take(mine, step);
      }
      drawMade();
      if (mine.done) arrived();
      else requestAnimationFrame(advance);
    };
    advance();
  }

  function take(journey, {i, t, x}) {
    journey.x = x;
    journey.paths.forEach((path, n) => path.push(x[2 * n], x[2 * n + 1]));
    find("walked").value = number("steps") - i;
    say("madeSaid", `在 t = ${t} 处猜过，还有 ${i} 步。`);
  }

  function arrived() {
    const gaps = nearest(journey.x, points).sort(), same = gaps.filter(gap => gap < 0.02).length;
    form.dataset.state = "done";
    form.elements.stop.disabled = true;
    say("madeSaid", `${value("who") === "ideal" ? "理想去噪器" : "小网络"}走了 ${value("steps")} 步，造出 ${gaps.length} 个点：${same} 个与你的点重合（相距不到 0.02），` +
      `到最近的点，中位数是 ${gaps[gaps.length >> 1].toFixed(3)}。`);
  }

  function sample() {
    const guess = guesser();
    if (!guess) return say("madeSaid", points.length ? "小网络还没有练：先按“训练”。" : "还没有点：先挑一种形状，或在左边画几个。");
    const {normal} = ddpm.randomNumbers(number("seed")), x = Float32Array.from({length: 2 * COUNT}, normal), steps = number("steps");
    const denoise = function* (at, t, now) { return guess(at, t, now); };
    const paths = Array.from({length: TRACED}, (_, n) => [x[2 * n], x[2 * n + 1]]);
    journey = {x, paths, chain: ddpm.sampling(x, {table: TABLE, sampler: value("sampler"), knob: number("knob"), steps, denoise, normal})};
    find("walked").max = steps;
    form.dataset.state = "walking";
    form.elements.stop.disabled = false;
    walk();
  }

  function halt() {
    if (journey) journey.halted = true;
    form.dataset.state = "idle";
    form.elements.stop.disabled = true;
  }

  // ---- 训练 ----

  function teach(on) {
    background.stop();
    form.elements.learn.textContent = on ? "停下训练" : "训练小网络";
    form.dataset.learning = on;
    if (!on) return;
    losses = [];
    least = floor();
    for (const end of ["y1", "y2"]) find("floor").setAttribute(end, lossHeight(least));
    background.start("learn", {points, steps: number("effort"), seed: number("seed")});
    say("learnSaid", "开始练。");
  }

  // 损失的图里的高度：0 在底，0.5 在顶
  const lossHeight = loss => 100 - 200 * Math.min(loss, 0.5);

  // 理想去噪器在这些点上的损失：谁也低不过它
  function floor() {
    const {normal} = ddpm.randomNumbers(3);
    let total = 0;
    for (let t = 0; t < T; t += 2) {
      const from = 2 * (t % (points.length / 2)), error = [normal(), normal()], x = addNoise(points.slice(from, from + 2), error, TABLE[t]);
      idealStart(points, x, TABLE[t]).forEach((start, k) => {
        total += ((x[k] - Math.sqrt(TABLE[t]) * start) / Math.sqrt(1 - TABLE[t]) - error[k]) ** 2;
      });
    }
    return total / T;
  }

  function learned({step, loss, parameters}) {
    const total = number("effort");
    network = new Mlp(parameters, T);
    losses.push(loss);
    find("curve").setAttribute("points", losses.map((height, i) => `${(i + 1) * 20 / total * 300},${lossHeight(height)}`).join(" "));
    find("curve").dataset.last = loss;
    say("learnSaid", `练了 ${step} / ${total} 步，损失 ${loss.toFixed(3)}，最低处约 ${least.toFixed(3)}。`);
    if (value("who") === "network") drawGiven();
    if (step === total) teach(false);
  }

  // ---- 控件 ----

  left.canvas.addEventListener("pointerdown", event => {
    left.canvas.setPointerCapture(event.pointerId);
    addPoint(left.place(event));
  });
  left.canvas.addEventListener("pointermove", event => {
    if (!event.buttons || !points.length) return;
    // 一下移了很远，就在路上补几个，隔 SPACING 一个
    const [x, y] = points.slice(-2), where = left.place(event), gap = Math.hypot(where[0] - x, where[1] - y);
    for (let far = SPACING; far <= gap; far += SPACING) addPoint([x + (where[0] - x) * far / gap, y + (where[1] - y) * far / gap]);
  });
  left.canvas.addEventListener("keydown", event => {
    const move = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[event.key];
    if (!move && event.key !== " ") return;
    event.preventDefault();
    if (!move) return addPoint(cursor);
    cursor = cursor.map((c, k) => Math.max(-LIMIT, Math.min(LIMIT, c + 0.1 * move[k])));
    drawGiven();
  });
  for (const kind of ["focus", "blur"]) left.canvas.addEventListener(kind, drawGiven);

  function describe() {
    for (const name of ["t", "steps", "knob"]) form.elements[`${name}Shown`].value = value(name);
    find("knobName").textContent = ddpm.SAMPLERS[value("sampler")].knob;
  }

  form.addEventListener("input", ({target}) => {
    describe();
    if (target.name === "shape") setPoints(value("shape") ? shape(value("shape"), COUNT, ddpm.randomNumbers(11)) : []);
    else redraw();
  });
  form.addEventListener("submit", event => {
    event.preventDefault();
    sample();
  });
  form.elements.stop.addEventListener("click", halt);
  form.elements.clear.addEventListener("click", () => {
    form.elements.shape.value = "";
    setPoints([]);
  });
  form.elements.learn.addEventListener("click", () => {
    if (!points.length) return say("learnSaid", "还没有点：先挑一种形状，或在左边画几个。");
    teach(form.dataset.learning !== "true");
  });
  describe();
  setPoints(shape(value("shape"), COUNT, ddpm.randomNumbers(11)));
  onRestyle(redraw);
})();
