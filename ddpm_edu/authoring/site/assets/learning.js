// 后台里训练小网络：抽一批点、步号和噪声，猜噪声，改参数；每二十步交出损失与参数
"use strict";

const BATCH = 128, RATE = 4e-3, EVERY = 20;

function* learning(points, steps, {uniform, normal}) {
  const T = TABLE.length, network = Mlp.random(uniform, T), update = adam(network.parameters);
  for (let step = 0, total = 0; step < steps; step++) {
    const times = Float32Array.from({length: BATCH}, () => Math.floor(uniform() * T)), noise = Float32Array.from({length: 2 * BATCH}, normal);
    const x = new Float32Array(2 * BATCH);
    for (let n = 0; n < BATCH; n++) {
      const now = TABLE[times[n]], from = 2 * Math.floor(uniform() * points.length / 2);
      for (const k of [0, 1]) x[2 * n + k] = Math.sqrt(now) * points[from + k] + Math.sqrt(1 - now) * noise[2 * n + k];
    }
    const {loss, gradient} = network.loss(x, times, noise);
    total += loss;
    // 学习率照半个余弦降到 0，同第 1 章
    update(gradient, RATE * (1 + Math.cos(Math.PI * step / steps)) / 2);
    if ((step + 1) % EVERY === 0) {
      yield {step: step + 1, loss: total / EVERY, parameters: network.parameters.slice()};
      total = 0;
    }
  }
}

const JOBS = {learn: ({points, steps, seed}) => learning(points, steps, ddpm.randomNumbers(seed))};
