// 有图像的两块面板：加噪、参数化。像素是包里的那几张图；噪声照 torch 的办法由种子生成，不必随页面带着
(() => {
  "use strict";
  const {ddpm} = globalThis, {range, format} = ddpm;

  // ---- 加噪 ----

  const EDGES = ddpm.linspace(-4.05, 4.05, 82);
  const CENTERS = range(81).map(i => (EDGES[i + 1] + EDGES[i]) / 2);
  const NORMAL = CENTERS.map(x => Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI));

  function density(values) {
    const counts = new Float64Array(81);
    for (const value of values) {
      const x = Math.min(Math.max(value, -4), 4);
      let bin = Math.min(Math.floor((x + 4.05) * 10), 80);
      // 乘法有舍入：落在格边上的，照格边自己的值归
      if (x < EDGES[bin]) bin--;
      else if (bin < 80 && x >= EDGES[bin + 1]) bin++;
      counts[bin]++;
    }
    return counts.map((count, i) => count / (EDGES[i + 1] - EDGES[i]) / values.length);
  }

  function variance(values) {
    let sum = 0, squares = 0;
    for (const x of values) sum += x;
    const mean = sum / values.length;
    for (const x of values) squares += (x - mean) * (x - mean);
    return squares / (values.length - 1);
  }

  // 同一块面板的图与噪声只备一次
  const prepared = new WeakMap();
  function prepare(extra) {
    if (!prepared.has(extra)) {
      const images = Float32Array.from(extra.pixels, x => Math.fround(x / 127.5) - 1);
      const noise = Float32Array.from(images, ddpm.randomNumbers(extra.seed).normal);
      prepared.set(extra, {images, noise, cumprod: ddpm.alphasCumprod(ddpm.makeBetaSchedule(extra.schedule, extra.T))});
    }
    return prepared.get(extra);
  }

  function forward({t, index}, extra) {
    const {images, noise, cumprod} = prepare(extra), size = extra.side ** 2, signal = Math.sqrt(cumprod[t]);
    const keep = Math.fround(signal), add = Math.fround(Math.sqrt(1 - cumprod[t]));
    // 几万个像素：循环比 map 快几倍
    const x = new Float32Array(images.length);
    for (let i = 0; i < x.length; i++) x[i] = Math.fround(keep * images[i]) + Math.fround(add * noise[i]);
    const mixed = `x_t = ${format(signal, ".3f")}·x₀ + ${format(Math.sqrt(1 - signal * signal), ".3f")}·ε`;
    return {data: {image: x.subarray(index * size, (index + 1) * size), histogram: [CENTERS, density(x)], normal: [CENTERS, NORMAL]},
      note: `t = ${t}：${mixed}；全部像素的方差 ${format(variance(x), ".1f")}`};
  }

  // ---- 参数化：三种输出各加一份误差，换成 x̂0、再走一步各错多少 ----

  // 输出的误差换到 x̂0 上要乘几倍
  const SHOWN = 3, AMPLIFICATION = {eps: bar => Math.sqrt((1 - bar) / bar), x0: () => 1, v: bar => Math.sqrt(1 - bar)};

  function parameterization({t, error}, {schedule, T, start, noise}) {
    const cumprod = ddpm.alphasCumprod(ddpm.makeBetaSchedule(schedule, T)), bar = cumprod[t], cos = Math.sqrt(bar), sin = Math.sqrt(1 - bar);
    const stride = Math.floor(T / 50), coefficients = cumprod.map((bar, u) => ddpm.ddimStep(bar, u >= stride ? cumprod[u - stride] : 1)[0]);
    const clean = Float64Array.from(start), eps = Float64Array.from(noise), wrong = eps.slice().reverse();
    const x = clean.map((pixel, i) => cos * pixel + sin * eps[i]), names = Object.keys(AMPLIFICATION), steps = range(T);
    const data = {};
    for (const name of names) {
      const guess = clean.map((pixel, i) => ddpm.TO_X_START[name](x[i], ddpm.TARGET[name](pixel, eps[i], cos, sin) + error * wrong[i], cos, sin));
      data[`x0_from_${name}`] = guess;
      data[`step_from_${name}`] = guess.map((value, i) => SHOWN * coefficients[t] * (value - clean[i]));
      data[`gain_${name}`] = [steps, cumprod.map((bar, u) => coefficients[u] * AMPLIFICATION[name](bar))];
    }
    data.here = [[t, t, t], names.map(name => data[`gain_${name}`][1][t])];
    const said = names.map(name => `${name} ${format(error * data[`gain_${name}`][1][t], ".3g")}`);
    const angle = format(Math.atan2(sin, cos) * 180 / Math.PI, ".0f");
    const place = t >= stride ? `走到 s = ${t - stride}` : "一步走到底";
    return {data, note: `t = ${t}：转角 ${angle}°。三种输出各加 ${format(error, ".2f")} 的误差，${place}，x_s 的误差：${said.join("，")}`};
  }

  ddpm.compute = Object.assign(ddpm.compute || {}, {forward_panel: forward, parameterization_panel: parameterization});
})();
