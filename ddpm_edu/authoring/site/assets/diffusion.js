// 噪声表、采样的一步与整条链；公式同 ddpm_edu/schedules.py、sampling.py，全用双精度
"use strict";

// ᾱ_0 … ᾱ_{T-1}；cosine（Nichol & Dhariwal 2021）或 sqrt_linear（对 β 线性，Ho 2020）
function alphasCumprod(schedule, T = 1000) {
  const f = i => Math.cos((i / T + 8e-3) / (1 + 8e-3) * Math.PI / 2) ** 2, table = new Float64Array(T);
  for (let i = 0, product = 1; i < T; i++) {
    const beta = schedule === "cosine" ? Math.min(1 - f(i + 1) / f(i), 0.999) : 1e-4 + i * ((0.02 - 1e-4) / (T - 1));
    table[i] = product *= 1 - beta;
  }
  return table;
}

// 每种采样器：由 ᾱ_t、ᾱ_s 与它的旋钮算出一步的 [a, b, σ]，x_s = a·x0 + b·x_t + σ·z
const SAMPLERS = {
  ancestral(now, after, vPosterior) {
    const beta = 1 - now / after, share = (1 - after) / (1 - now);
    const variance = (1 - vPosterior) * beta * share + vPosterior * beta;
    return [Math.sqrt(after) * beta / (1 - now), Math.sqrt(1 - beta) * share, after < 1 ? Math.sqrt(variance) : 0];
  },
  ddim(now, after, eta) {
    const sigma = eta * Math.sqrt((1 - after) / (1 - now) * (1 - now / after));
    const b = Math.sqrt(Math.max(1 - after - sigma ** 2, 0) / (1 - now));
    return [Math.sqrt(after) - b * Math.sqrt(now), b, sigma];
  },
};

// 网络的输出 → x0；各种目标同 ddpm_edu/objectives.py
const TO_START = {
  v: (x, out, now) => Math.sqrt(now) * x - Math.sqrt(1 - now) * out,
  eps: (x, out, now) => (x - Math.sqrt(1 - now) * out) / Math.sqrt(now),
};

// 从 0..T-1 里均匀取 steps 步，总含最后一步，升序；正好一半时取偶数，同 NumPy
function spacedTimesteps(T, steps) {
  if (steps === 1) return [T - 1];
  return Array.from({length: steps}, (_, i) => {
    const exact = i === steps - 1 ? T - 1 : i * ((T - 1) / (steps - 1)), low = Math.floor(exact);
    return exact - low === 0.5 ? low + low % 2 : Math.round(exact);
  });
}

// 有种子的标准正态数：mulberry32 的均匀数，Box–Muller 换成正态
function normalNumbers(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = state + 0x6D2B79F5 >>> 0;
    let z = state;
    z = Math.imul(z ^ z >>> 15, z | 1);
    z ^= z + Math.imul(z ^ z >>> 7, z | 61);
    return ((z ^ z >>> 14) >>> 0) / 2 ** 32;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return {uniform, normal};
}

// 整条链，从 x（改成每一步的 x_s，Float32Array）走到 x_0；每走一步交出 {i, t, x, start}，i 从 steps-1 数到 0
// table：ᾱ；sampler、knob、steps；denoise*(x, t, ᾱ_t) 给出 x0，中途可以停下来歇一歇；normal() 给出一个正态数
function* sampling(x, {table, sampler, knob, steps, denoise, normal}) {
  const times = spacedTimesteps(table.length, steps);
  for (let i = steps - 1; i >= 0; i--) {
    const now = table[times[i]], after = i ? table[times[i - 1]] : 1;
    const [a, b, sigma] = SAMPLERS[sampler](now, after, knob), start = yield* denoise(x, times[i], now);
    x = x.map((value, k) => a * start[k] + b * value + (sigma ? sigma * normal() : 0));
    yield {i, t: times[i], x, start};
  }
}
