// 各块面板的计算，与 teach/panels 里的 *_data 一一对应：compute(控件的值, 附带的数) → {data: {曲线名: [x, y], 图像名: 像素}, note: 一句话}
(() => {
  "use strict";
  const {ddpm} = globalThis, {range, format, alphasCumprod, ancestralStep} = ddpm;
  const sum = values => values.reduce((total, value) => total + value, 0);
  const extreme = (values, better) => values.reduce((found, value) => better(value, found) ? value : found);
  const max = values => extreme(values, (a, b) => a > b);

  // ---- 噪声表 ----

  function rescaleLinearRange(T, start, end, reference = 1000) {
    return [Math.min(start * (reference / T), 0.999), Math.min(end * (reference / T), 0.999)];
  }

  function beta({schedule, T, linear_start, linear_end, cosine_s}, {names}) {
    const [low, high] = linear_start <= linear_end ? [linear_start, linear_end] : [linear_end, linear_start];
    const betas = ddpm.makeBetaSchedule(schedule, T, low, high, cosine_s), cumprod = alphasCumprod(betas), u = range(T).map(t => t / T);
    const snr = cumprod.map(bar => Math.max(bar, 1e-300) / (1 - bar)), leftover = Math.sqrt(cumprod[T - 1]);
    return {data: {beta: [u, betas], alpha_bar: [u, cumprod], snr: [u, snr]}, note: describeBeta(schedule, T, low, high, leftover, names)};
  }

  function describeBeta(schedule, T, start, end, leftover, names) {
    const idle = schedule === "cosine" ? "linear_start、linear_end 不" : "cosine_s 不";
    let text = `<b>${schedule}</b>：${names[schedule]}（${idle}起作用）。走完 T=${T} 步，原图的幅度还剩 √ᾱ = ${format(leftover, ".2g")}。`;
    if (leftover <= 0.1) return text;
    text += `<b>${T < 1000 ? "T 太短" : "噪声太少"}：</b>走到头还看得见原图，从 N(0, I) 开始采样就错了。`;
    if (T >= 1000 || schedule !== "linear" && schedule !== "sqrt_linear") return `${text}把 linear_end 调大，或改用 cosine。`;
    const ends = rescaleLinearRange(T, start, end).map(value => format(value, ".3g"));
    return `${text}把两端乘上 1000/T（${ends.join(" 与 ")}），或改用 cosine。`;
  }

  // ---- 后验方差 ----

  // 由 ᾱ 回到 β，每一步可以跨过许多 t
  const betasOf = cumprod => cumprod.map((bar, i) => 1 - bar / (i ? cumprod[i - 1] : 1));
  const betaTilde = (betas, cumprod) => betas.map((beta, t) => beta * (1 - (t ? cumprod[t - 1] : 1)) / (1 - cumprod[t]));

  function posteriorVariance(betas, v) {
    const tilde = betaTilde(betas, alphasCumprod(betas));
    return tilde.map((variance, t) => (1 - v) * variance + v * betas[t]);
  }

  function posterior({v, steps}, {betas: all}) {
    const kept = ddpm.spacedTimesteps(all.length, steps), cumprod = alphasCumprod(all);
    const betas = kept.length < all.length ? betasOf(kept.map(t => cumprod[t])) : all, x = kept.slice(1);
    const ratio = value => [x, posteriorVariance(betas, value).map((variance, i) => variance / betas[i]).slice(1)];
    const data = {ratio_v: ratio(v), ratio: ratio(0)};
    data.marks = kept.length <= 20 ? data.ratio_v : [[], []];
    const [tilde, mixed] = [data.ratio, data.ratio_v].map(([, y]) => format(y[0], ".3f"));
    return {data, note: `v = ${format(v, ".2f")}，走 ${kept.length} 步：t=${x[0]} 处 β̃/β = ${tilde}，σ²/β = ${mixed}`};
  }

  // 高斯数据 N(0, s²) 上的整条链：途中各处的方差与真值之比，第 0 项是最终样本；step(ᾱ_t, ᾱ_s) → [a, b, σ]
  function chainVariances(cumprod, std, step) {
    const T = cumprod.length, ratios = new Float64Array(T + 1), truth = bar => bar * std * std + 1 - bar;
    let variance = 1;
    ratios[T] = variance / truth(cumprod[T - 1]);
    for (let t = T - 1; t >= 0; t--) {
      const bar = cumprod[t], barS = t ? cumprod[t - 1] : 1, [a, b, sigma] = step(bar, barS);
      const gain = a * (Math.sqrt(bar) * std * std / truth(bar)) + b;
      variance = gain * gain * variance + sigma * sigma;
      ratios[t] = variance / truth(barS);
    }
    return ratios;
  }

  const sameV = v => (bar, barS) => ancestralStep(bar, barS, v);
  const eachBest = std => (bar, barS) => ancestralStep(bar, barS, std * std / (bar * std * std + 1 - bar));

  const CHAIN_STEPS = [5, 10, 20, 50, 100, 200, 500, 1000];

  function chain({v, std, steps, schedule}) {
    const kept = ddpm.spacedTimesteps(1000, steps), all = alphasCumprod(ddpm.makeBetaSchedule(schedule, 1000));
    const cumprod = kept.map(t => all[t]), ratios = value => chainVariances(cumprod, std, sameV(value));
    const mine = ratios(v), best = chainVariances(cumprod, std, eachBest(std)), along = ratio => [kept, ratio.slice(1)];
    const data = {v: along(mine), zero: along(ratios(0)), one: along(ratios(1)), best: along(best)};
    // 样本的方差随步数怎样变
    const levels = CHAIN_STEPS.map(count => ddpm.spacedTimesteps(1000, count).map(t => all[t]));
    for (const [name, value] of [["v", v], ["zero", 0], ["one", 1]]) {
      data[`end_${name}`] = [CHAIN_STEPS, levels.map(level => chainVariances(level, std, sameV(value))[0])];
    }
    const [shown, s, ratio, least] = [v, std, mine[0], best[0]].map(value => format(value, ".2f"));
    return {data, note: `数据 x₀ ~ N(0, ${s}²)，走 ${steps} 步：v = ${shown} 时样本的方差是真值的 ${ratio} 倍，每步用最优的 v 时 ${least} 倍`};
  }

  // ---- 损失的权重 ----

  // 三种目标的平方误差，VLB 权重是 x0 权重的几倍
  const OVER_X0 = {eps: bar => (1 - bar) / bar, x0: () => 1, v: bar => 1 - bar};

  function lvlbWeights(betas, v, parameterization) {
    const cumprod = alphasCumprod(betas), tilde = betaTilde(betas, cumprod);
    // 第 0 步的 β_tilde 是 0，用第 1 步的代替
    tilde[0] = tilde[1];
    return betas.map((beta, t) => {
      const coef1 = beta * Math.sqrt(t ? cumprod[t - 1] : 1) / (1 - cumprod[t]), variance = (1 - v) * tilde[t] + v * beta;
      return coef1 * coef1 / (2 * variance) * OVER_X0[parameterization](cumprod[t]);
    });
  }

  function weights({v, schedule, l_simple, elbo}) {
    const T = 1000, names = ["eps", "x0", "v"], betas = ddpm.makeBetaSchedule(schedule, T), t = range(T).map(i => i + 1), data = {}, said = [];
    data.one = [t, t.map(step => step / T)];
    data.peaks = [[], []];
    for (const name of names) {
      const derived = lvlbWeights(betas, v, name), mixed = derived.map(weight => l_simple + elbo * weight), total = sum(mixed);
      const heaviest = mixed.indexOf(max(mixed));
      let running = 0;
      data[name] = [t, derived];
      data[`mixed_${name}`] = [t, mixed.map(weight => (running += weight) / (total || 1))];
      data.peaks[0].push(heaviest + 1);
      data.peaks[1].push(data[`mixed_${name}`][1][heaviest]);
      said.push(`${name} 是 t=${heaviest}，占 ${format(mixed[heaviest] / total, ".0%")}`);
    }
    return {data, note: l_simple === 0 && elbo === 0 ? "处处为 0，构造函数会拒绝"
      : `总损失里的权重是 ${format(l_simple, "g")} + ${format(elbo, "g")}·w_t。最重的一步：${said.join("；")}`};
  }

  // ---- EMA ----

  const effectiveDecay = (decay, n, warmUp) => warmUp ? Math.min(decay, (1 + n) / (10 + n)) : decay;

  // decays、weight 等长；影子从 start 出发
  function follow(weight, decays, start) {
    let shadow = start;
    return weight.map((value, i) => shadow += (1 - decays[i]) * (value - shadow));
  }

  function ema({decay, warm_up, noise}, {jitter, drawn}) {
    const count = jitter.length, steps = range(count).map(i => i + 1), decays = steps.map(n => effectiveDecay(decay, n, warm_up));
    const constant = steps.map(() => decay), weight = steps.map((n, i) => Math.exp(-n / 300) + noise * jitter[i]);
    const data = {
      step: [steps, decays.map(d => 1 - d)], limit: [steps, constant.map(d => 1 - d)], shadow: [steps, follow(weight, decays, 1)],
      fixed: [steps, follow(weight, constant, 1)], weight: [Float64Array.from(drawn, i => steps[i]), Float64Array.from(drawn, i => weight[i])],
    };
    const reached = decays.findIndex(d => d >= decay);
    let acting = `热身到第 ${reached} 步为止`;
    if (reached < 0) acting = "2 000 步之内它一直没有起作用，管用的是热身公式";
    if (!warm_up) acting = `没有热身，${count} 步之后初值还占 ${format(decays.reduce((product, d) => product * d, 1), ".0%")}`;
    return {data, note: `decay = ${decay}：半衰期 ${format(Math.log(0.5) / Math.log(decay), ".0f")} 步；${acting}`};
  }

  // ---- 学习率的乘数；周期从 0 起首尾相接，一样长，末尾之后停在终值 ----

  const cosine = (low, high, progress) => low + 0.5 * (high - low) * (1 + Math.cos(Math.PI * progress));
  const DECAY = {
    LambdaWarmUpCosineScheduler: cosine,
    LambdaWarmUpCosineScheduler2: cosine,
    LambdaLinearScheduler: (low, high, progress) => high + (low - high) * progress,
  };

  function lrMultiplier(kind, n, {warmUp, start, high, low, length, cycles}) {
    const cycle = Math.min(Math.floor(n / length), cycles - 1), step = Math.min(n - cycle * length, length);
    if (step < warmUp) return start + (high - start) * step / warmUp;
    const span = length - warmUp;
    // 只有一个周期的那个类，到了末尾直接取终值；另外两个，热身占满时停在最高处
    if (kind === "LambdaWarmUpCosineScheduler" && step === length) return low;
    return DECAY[kind](low, high, span ? (step - warmUp) / span : 0);
  }

  function lr({kind, warm_up, f_start, f_max, f_min, cycles}, {span, shown}) {
    const single = kind === "LambdaWarmUpCosineScheduler", count = single ? 1 : cycles, length = single ? span : Math.floor(span / count);
    const warmUp = Math.min(warm_up, length), n = range(shown), breaks = [];
    for (let k = 0; k < count; k++) breaks.push(k * length, k * length + warmUp);
    breaks.push(count * length);
    const places = [...new Set(breaks)].sort((a, b) => a - b);
    const multiplier = step => lrMultiplier(kind, step, {warmUp, start: f_start, high: f_max, low: f_min, length, cycles: count});
    const alone = single && cycles > 1 ? "；这个类只有一个周期" : "";
    return {data: {multiplier: [n, n.map(multiplier)], breaks: [places, places.map(multiplier)]}, note: `转折点：第 ${places.join("、")} 步${alone}`};
  }

  ddpm.compute = Object.assign(ddpm.compute || {}, {
    beta_panel: beta, posterior_panel: posterior, chain_panel: chain, weights_panel: weights, ema_panel: ema, lr_panel: lr,
  });
})();
