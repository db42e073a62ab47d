// 猜噪声的小网络：前向、反向与 Adam 都写在这里。结构与输入同 ddpm_edu/teach/moons.py 的 MoonDenoiser，第 1 章的网络，窄一些
"use strict";

const WIDTHS = [28, 64, 64, 64, 2];
const sigmoid = value => 1 / (1 + Math.exp(-value));

function transposed(matrix, columns) {
  const rows = matrix.length / columns, out = new Float32Array(matrix.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = matrix[r * columns + c];
  return out;
}

// 点与步号 → 网络的输入：坐标，再是 13 个角的正弦与余弦（横、竖各四个频率，t 五个）
function features(points, times, T) {
  const size = WIDTHS[0], out = new Float32Array(times.length * size);
  for (let n = 0; n < times.length; n++)
    for (let k = 0; k < 13; k++) {
      const angle = k < 8 ? points[2 * n + (k >> 2)] * 2 ** (k & 3) : times[n] / T * Math.PI * 2 ** (k - 8);
      if (k < 2) out[n * size + k] = points[2 * n + k];
      out[n * size + 2 + k] = Math.sin(angle);
      out[n * size + 15 + k] = Math.cos(angle);
    }
  return out;
}

class Mlp {
  // parameters：各层依次的权重 (出, 入) 与偏置，排成一行；次序同 torch 的 parameters()
  constructor(parameters, T) {
    this.parameters = parameters;
    this.T = T;
    this.layers = Mlp.split(parameters);
  }

  // 与 torch.nn.Linear 的默认初值同分布：±1/√入 之间均匀
  static random(uniform, T) {
    const fans = WIDTHS.slice(1).flatMap((out, i) => Array(out * WIDTHS[i] + out).fill(WIDTHS[i]));
    return new Mlp(Float32Array.from(fans, fan => (2 * uniform() - 1) / Math.sqrt(fan)), T);
  }

  static split(parameters) {
    let at = 0;
    const take = count => parameters.subarray(at, at += count);
    return WIDTHS.slice(1).map((out, i) => ({weight: take(out * WIDTHS[i]), bias: take(out), inputs: WIDTHS[i]}));
  }

  // points 是 x, y, x, y …，times 是各点的步号；返回 {out: 猜的噪声, 排法同 points, inputs: 各层的输入, before: 各层过 SiLU 之前}
  forward(points, times) {
    const inputs = [features(points, times, this.T)], before = [];
    this.layers.forEach(({weight, bias, inputs: width}, i) => {
      before.push(addVector(product(inputs[i], weight, width), bias));
      if (i < this.layers.length - 1) inputs.push(before[i].map(value => value * sigmoid(value)));
    });
    return {out: before.at(-1), inputs, before};
  }

  // 损失对参数的梯度，排法同 parameters；slope 是损失对 out 的导数
  backward({inputs, before}, slope) {
    const gradient = new Float32Array(this.parameters.length), parts = Mlp.split(gradient);
    for (let i = this.layers.length - 1; i >= 0; i--) {
      const {weight, inputs: width} = this.layers[i], outputs = weight.length / width, rows = slope.length / outputs;
      parts[i].weight.set(product(transposed(slope, outputs), transposed(inputs[i], width), rows));
      for (let k = 0; k < slope.length; k++) parts[i].bias[k % outputs] += slope[k];
      if (i === 0) return gradient;
      slope = product(slope, transposed(weight, width), outputs);
      // SiLU 的导数是 σ(z)·(1 + z·(1 - σ(z)))
      before[i - 1].forEach((z, k) => { slope[k] *= sigmoid(z) * (1 + z * (1 - sigmoid(z))); });
    }
  }

  // 一批的均方误差与梯度
  loss(points, times, noise) {
    const pass = this.forward(points, times), gap = pass.out.map((value, k) => value - noise[k]);
    return {loss: gap.reduce((sum, value) => sum + value ** 2, 0) / gap.length, gradient: this.backward(pass, gap.map(value => 2 * value / gap.length))};
  }
}

// Adam：update(梯度, 学习率) 就地改参数；系数是 torch 的默认值
function adam(parameters) {
  const first = new Float64Array(parameters.length), second = new Float64Array(parameters.length);
  let step = 0;
  return (gradient, rate) => {
    const full = [1 - 0.9 ** ++step, 1 - 0.999 ** step];
    for (let k = 0; k < parameters.length; k++) {
      first[k] += 0.1 * (gradient[k] - first[k]);
      second[k] += 0.001 * (gradient[k] ** 2 - second[k]);
      parameters[k] -= rate * first[k] / full[0] / (Math.sqrt(second[k] / full[1]) + 1e-8);
    }
  };
}
