// 后台里画一张图：从种子抽噪声，一步步走到 x_0，每走一步交出这一步的样子
"use strict";

// 网络的一次猜测，带引导；每调用一次网络就歇一歇，等着的“停”才进得来
function guidedDenoiser(network, table, {label, guidance, count}) {
  return function* (x, t, now) {
    let out = network.predict(x, t, label);
    count.calls++;
    if (label >= 0 && guidance !== 1) {
      yield;
      const given = out, free = network.predict(x, t, -1);
      count.calls++;
      out = free.map((value, k) => value + guidance * (given[k] - value));
    }
    return x.map((value, k) => Math.max(-1, Math.min(1, ddpm.TO_X_START.v(value, out[k], Math.sqrt(now), Math.sqrt(1 - now)))));
  };
}

function noiseImage(side, normal) {
  return Float32Array.from({length: side * side}, normal);
}

// 读进来的网络，画第二张时不必再读
const studio = {};

const JOBS = {
  // model 只在第一次带着：{file, config, schedule, timesteps, side}
  *draw({model, seed, label, guidance, sampler, knob, steps}) {
    if (model) {
      const table = ddpm.alphasCumprod(ddpm.makeBetaSchedule(model.schedule, model.timesteps));
      Object.assign(studio, {unet: new UNet(model.file, model.config), table, side: model.side});
    }
    const {normal} = ddpm.randomNumbers(seed), count = {calls: 0}, {unet, table, side} = studio;
    const denoise = guidedDenoiser(unet, table, {label, guidance, count});
    for (const step of ddpm.sampling(noiseImage(side, normal), {table, sampler, knob, steps, denoise, normal}))
      yield step && {...step, calls: count.calls};
  },
};
