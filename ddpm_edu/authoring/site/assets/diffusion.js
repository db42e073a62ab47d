// 噪声表、换算、随机数与采样，面板与 live.html、plane.html（连同它们的 Worker）都用这一份。全用双精度，运算的次序与包里的 Python 相同：
// schedules.py、objectives.py、sampling.py。只有 cos、exp、log 两边可能差一个末位；别的逐位相同，或差在求和的次序上
(() => {
  "use strict";
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

  // ᾱ_0 … ᾱ_{T-1}
  function alphasCumprod(betas) {
    let product = 1;
    return betas.map(beta => product *= 1 - beta);
  }

  // ---- 网络的三种目标，与由输出换回 x0：signal = √ᾱ，sigma = √(1-ᾱ) ----

  const TARGET = {
    eps: (start, noise) => noise,
    x0: start => start,
    v: (start, noise, signal, sigma) => signal * noise - sigma * start,
  };
  const TO_X_START = {
    eps: (x, out, signal, sigma) => x / signal - sigma / signal * out,
    x0: (x, out) => out,
    v: (x, out, signal, sigma) => signal * x - sigma * out,
  };

  // ---- 随机数：torch.manual_seed(seed) 之后的那些，差在单精度的末位 ----

  function mersenneTwister(seed) {
    const state = new Uint32Array(624);
    state[0] = seed;
    for (let i = 1; i < 624; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
    let at = 624;
    return () => {
      if (at === 624) {
        for (let i = 0; i < 624; i++) {
          const mixed = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
          state[i] = state[(i + 397) % 624] ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
        }
        at = 0;
      }
      let y = state[at++];
      y ^= y >>> 11;
      y ^= (y << 7) & 0x9d2c5680;
      y ^= (y << 15) & 0xefc60000;
      return (y ^ (y >>> 18)) >>> 0;
    };
  }

  // uniform() 是 torch.rand 的下一个数；normal() 是 torch.randn 的，每次抽 16 的倍数个时次序相同
  function randomNumbers(seed) {
    const next = mersenneTwister(seed), uniform = () => (next() & 0xffffff) / 0x1000000;
    let block, left = 0;
    const normal = () => {
      if (!left) {
        // Box–Muller：十六个一组，前八个定半径，后八个定角度
        block = Float64Array.from({length: 16}, uniform);
        for (let i = 0; i < 8; i++) {
          const radius = Math.sqrt(-2 * Math.log(1 - block[i])), angle = 2 * Math.PI * block[i + 8];
          block[i] = radius * Math.cos(angle);
          block[i + 8] = radius * Math.sin(angle);
        }
        left = 16;
      }
      return block[16 - left--];
    };
    return {uniform, normal};
  }

  // ---- 采样的一步 x_s = a·x0 + b·x_t + σ·z：由 ᾱ_t、ᾱ_s 与采样器的旋钮算出 [a, b, σ] ----

  function ancestralStep(bar, barS, vPosterior = 0) {
    const beta = 1 - bar / barS, variance = (1 - vPosterior) * beta * (1 - barS) / (1 - bar) + vPosterior * beta;
    return [Math.sqrt(barS) * beta / (1 - bar), Math.sqrt(1 - beta) * (1 - barS) / (1 - bar), barS < 1 ? Math.sqrt(variance) : 0];
  }

  function ddimStep(bar, barS, eta = 0) {
    const sigma = eta * Math.sqrt((1 - barS) / (1 - bar) * (1 - bar / barS));
    const b = Math.sqrt(Math.max(1 - barS - sigma ** 2, 0) / (1 - bar));
    return [Math.sqrt(barS) - b * Math.sqrt(bar), b, sigma];
  }

  const SAMPLERS = {ancestral: {step: ancestralStep, knob: "v_posterior"}, ddim: {step: ddimStep, knob: "eta"}};

  // 从 0..T-1 里均匀取几步，总含最后一步，升序；逢半取偶
  function spacedTimesteps(T, steps) {
    if (steps === 1) return Float64Array.of(T - 1);
    return linspace(0, T - 1, steps).map(place => {
      const low = Math.floor(place);
      return place - low === 0.5 ? low + low % 2 : Math.round(place);
    });
  }

  // 整条链，从 x（改成每一步的 x_s，Float32Array）走到 x_0；每走一步交出 {i, t, x, start}，i 从 steps-1 数到 0
  // table：ᾱ；sampler、knob、steps；denoise*(x, t, ᾱ_t) 给出 x0，中途可以停下来歇一歇；normal() 给出一个正态数
  function* sampling(x, {table, sampler, knob, steps, denoise, normal}) {
    const times = spacedTimesteps(table.length, steps);
    for (let i = steps - 1; i >= 0; i--) {
      const now = table[times[i]], start = yield* denoise(x, times[i], now);
      const [a, b, sigma] = SAMPLERS[sampler].step(now, i ? table[times[i - 1]] : 1, knob);
      x = x.map((value, k) => a * start[k] + b * value + (sigma ? sigma * normal() : 0));
      yield {i, t: times[i], x, start};
    }
  }

  globalThis.ddpm = Object.assign(globalThis.ddpm || {}, {
    range, linspace, makeBetaSchedule, alphasCumprod, TARGET, TO_X_START, randomNumbers, ancestralStep, ddimStep, SAMPLERS, spacedTimesteps, sampling,
  });
})();
