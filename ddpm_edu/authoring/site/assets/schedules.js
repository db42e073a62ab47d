// 面板用到的数学，全用双精度，运算的次序与包里的 Python 相同：schedules.py、gaussian.py、sampling.py、laboratory.py、lr_scheduler.py
// 只有 cos、exp、log 两边可能差一个末位；别的逐位相同，或差在求和的次序上
(() => {
  "use strict";
  const ddpm = globalThis.ddpm = globalThis.ddpm || {};
  const range = count => Float64Array.from({length: count}, (_, i) => i);

  function linspace(start, stop, count) {
    const step = (stop - start) / (count - 1);
    const values = range(count).map(i => i ? i * step + start : start);
    if (count > 1) values[count - 1] = stop;
    return values;
  }

  // ---- 噪声表 ----

  function makeBetaSchedule(schedule, T, start = 1e-4, end = 2e-2, cosineS = 8e-3) {
    if (schedule === "linear") return linspace(Math.sqrt(start), Math.sqrt(end), T).map(root => root * root);
    if (schedule === "sqrt_linear") return linspace(start, end, T);
    if (schedule === "sqrt") return linspace(start, end, T).map(Math.sqrt);
    if (schedule !== "cosine") throw new RangeError(`beta_schedule 应为 linear、cosine、sqrt_linear、sqrt 之一，得到 ${schedule}`);
    const f = range(T + 1).map(i => Math.cos((i / T + cosineS) / (1 + cosineS) * Math.PI / 2)).map(cosine => cosine * cosine);
    return range(T).map(t => Math.min(1 - f[t + 1] / f[t], 0.999));
  }

  function rescaleLinearRange(T, start = 1e-4, end = 2e-2, reference = 1000) {
    return [Math.min(start * (reference / T), 0.999), Math.min(end * (reference / T), 0.999)];
  }

  function alphasCumprod(betas) {
    let product = 1;
    return betas.map(beta => product *= 1 - beta);
  }

  // 由 ᾱ 回到 β，每一步可以跨过许多 t
  const betasOf = cumprod => cumprod.map((bar, i) => 1 - bar / (i ? cumprod[i - 1] : 1));

  // ---- 系数表；三种目标的平方误差，VLB 权重是 x0 权重的几倍 ----

  const OVER_X0 = {eps: bar => (1 - bar) / bar, x0: () => 1, v: bar => 1 - bar};
  const betaTilde = (betas, cumprod) => betas.map((beta, t) => beta * (1 - (t ? cumprod[t - 1] : 1)) / (1 - cumprod[t]));

  function posteriorVariance(betas, v) {
    const tilde = betaTilde(betas, alphasCumprod(betas));
    return tilde.map((variance, t) => (1 - v) * variance + v * betas[t]);
  }

  function lvlbWeights(betas, v, parameterization) {
    const cumprod = alphasCumprod(betas), tilde = betaTilde(betas, cumprod);
    // 第 0 步的 β_tilde 是 0，用第 1 步的代替
    tilde[0] = betas.length > 1 ? tilde[1] : betas[0];
    return betas.map((beta, t) => {
      const coef1 = beta * Math.sqrt(t ? cumprod[t - 1] : 1) / (1 - cumprod[t]), variance = (1 - v) * tilde[t] + v * beta;
      return coef1 * coef1 / (2 * variance) * OVER_X0[parameterization](cumprod[t]);
    });
  }

  // 网络输出错 1，换算成的 x̂0 错多少
  const AMPLIFICATION = {eps: bar => Math.sqrt((1 - bar) / bar), x0: () => 1, v: bar => Math.sqrt(1 - bar)};

  // 三种输出换回 x0：signal = √ᾱ，sigma = √(1-ᾱ)
  const TO_X_START = {
    eps: (x, out, signal, sigma) => x / signal - sigma / signal * out,
    x0: (x, out) => out,
    v: (x, out, signal, sigma) => signal * x - sigma * out,
  };
  const TARGET = {
    eps: (start, noise) => noise,
    x0: start => start,
    v: (start, noise, signal, sigma) => signal * noise - sigma * start,
  };

  // ---- 采样的一步：x_s = a·x̂0 + b·x_t + σ·z，返回 [a, b, σ²] ----

  function ancestralStep(bar, barS, v) {
    const beta = 1 - bar / barS, tilde = beta * (1 - barS) / (1 - bar);
    return [Math.sqrt(barS) * beta / (1 - bar), Math.sqrt(1 - beta) * (1 - barS) / (1 - bar), barS < 1 ? (1 - v) * tilde + v * beta : 0];
  }

  function ddimStep(bar, barS) {
    const b = Math.sqrt(Math.max(1 - barS, 0) / (1 - bar));
    return [Math.sqrt(barS) - b * Math.sqrt(bar), b, 0];
  }

  // 0..T-1 里均匀取几步，逢半取偶
  const spacedTimesteps = (T, steps) => linspace(0, T - 1, steps).map(place => {
    const low = Math.floor(place), rest = place - low;
    return rest > 0.5 || rest === 0.5 && low % 2 ? low + 1 : low;
  });

  // ---- 高斯数据 N(0, s²) 上的整条链：途中各处的方差与真值之比，第 0 项是最终样本；step(ᾱ_t, ᾱ_s) → [a, b, σ²] ----

  function chainVariances(cumprod, std, step) {
    const T = cumprod.length, ratios = new Float64Array(T + 1), truth = bar => bar * std * std + 1 - bar;
    let variance = 1;
    ratios[T] = variance / truth(cumprod[T - 1]);
    for (let t = T - 1; t >= 0; t--) {
      const bar = cumprod[t], [a, b, noise] = step(bar, t ? cumprod[t - 1] : 1);
      const gain = a * (Math.sqrt(bar) * std * std / truth(bar)) + b;
      variance = gain * gain * variance + noise;
      ratios[t] = variance / (t ? truth(cumprod[t - 1]) : std * std);
    }
    return ratios;
  }

  const sameV = v => (bar, barS) => ancestralStep(bar, barS, v);
  const eachBest = std => (bar, barS) => ancestralStep(bar, barS, std * std / (bar * std * std + 1 - bar));

  // ---- EMA ----

  const effectiveDecay = (decay, n, warmUp) => warmUp ? Math.min(decay, (1 + n) / (10 + n)) : decay;

  // decays、weight 等长；影子从 start 出发
  function follow(weight, decays, start) {
    let shadow = start;
    return weight.map((value, i) => shadow += (1 - decays[i]) * (value - shadow));
  }

  // ---- 学习率的乘数；周期从 0 起首尾相接，一样长，末尾之后停在终值 ----

  const DECAY = {
    LambdaWarmUpCosineScheduler: (low, high, progress) => low + 0.5 * (high - low) * (1 + Math.cos(Math.PI * progress)),
    LambdaWarmUpCosineScheduler2: (low, high, progress) => low + 0.5 * (high - low) * (1 + Math.cos(Math.PI * progress)),
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

  Object.assign(ddpm, {
    range, linspace, makeBetaSchedule, rescaleLinearRange, alphasCumprod, betasOf, posteriorVariance, lvlbWeights, AMPLIFICATION,
    TO_X_START, TARGET, ddimStep, spacedTimesteps, chainVariances, sameV, eachBest, effectiveDecay, follow, lrMultiplier,
  });
})();
