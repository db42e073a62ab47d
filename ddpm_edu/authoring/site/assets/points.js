// 平面上的点 x, y, x, y …：几种现成的形状、加噪、两种猜测
"use strict";

const TABLE = ddpm.alphasCumprod(ddpm.makeBetaSchedule("sqrt_linear", 1000));

// 几种形状：(第几个占几成, 两个正态数) → 一个点；月牙的坐标换算同 ddpm_edu/teach/moons.py
const SHAPES = {
  moons(u, dx, dy) {
    const angle = 2 * Math.PI * u, upper = angle < Math.PI;
    const x = upper ? Math.cos(angle) : 1 + Math.cos(angle), y = upper ? Math.sin(angle) : 0.5 + Math.sin(angle);
    return [(x + 0.1 * dx - 0.5) / 0.87, (y + 0.1 * dy - 0.25) / 0.5];
  },
  ring: (u, dx, dy) => [1.4 * Math.cos(2 * Math.PI * u) + 0.07 * dx, 1.4 * Math.sin(2 * Math.PI * u) + 0.07 * dy],
  blobs(u, dx, dy) {
    const corner = Math.floor(4 * u);
    return [(corner & 1 ? 1.2 : -1.2) + 0.18 * dx, (corner & 2 ? 1.2 : -1.2) + 0.18 * dy];
  },
  spiral(u, dx, dy) {
    const angle = 3 * Math.PI * Math.sqrt(u), radius = 0.2 + 1.6 * Math.sqrt(u);
    return [radius * Math.cos(angle) + 0.05 * dx, radius * Math.sin(angle) + 0.05 * dy];
  },
};

function shape(name, count, {normal}) {
  return Array.from({length: count}, (_, i) => SHAPES[name]((i + 0.5) / count, normal(), normal())).flat();
}

// x_t = √ᾱ·x0 + √(1-ᾱ)·ε
function addNoise(points, noise, now) {
  return Float32Array.from(points, (value, k) => Math.sqrt(now) * value + Math.sqrt(1 - now) * noise[k]);
}

// 理想去噪器：手里的点按“是从它加噪来的”的可能性加权平均，E[x0 | x_t]；data 至少一个点
function idealStart(data, x, now) {
  const out = new Float32Array(x.length), scale = Math.sqrt(now), weights = new Float64Array(data.length / 2);
  for (let n = 0; n < x.length; n += 2) {
    let top = -Infinity, total = 0, sumX = 0, sumY = 0;
    for (let i = 0; i < weights.length; i++) {
      const dx = x[n] - scale * data[2 * i], dy = x[n + 1] - scale * data[2 * i + 1];
      weights[i] = -(dx * dx + dy * dy) / (2 * (1 - now));
      top = Math.max(top, weights[i]);
    }
    for (let i = 0; i < weights.length; i++) {
      const weight = Math.exp(weights[i] - top);
      total += weight;
      sumX += weight * data[2 * i];
      sumY += weight * data[2 * i + 1];
    }
    out[n] = sumX / total;
    out[n + 1] = sumY / total;
  }
  return out;
}

// 网络猜噪声，换成 x0
function networkStart(network, x, t, now) {
  const {out} = network.forward(x, new Float32Array(x.length / 2).fill(t));
  return x.map((value, k) => ddpm.TO_X_START.eps(value, out[k], Math.sqrt(now), Math.sqrt(1 - now)));
}

// 每个点离 data 里最近的点多远
function nearest(points, data) {
  const gaps = new Float64Array(points.length / 2).fill(Infinity);
  for (let n = 0; n < gaps.length; n++)
    for (let i = 0; i < data.length; i += 2) gaps[n] = Math.min(gaps[n], Math.hypot(points[2 * n] - data[i], points[2 * n + 1] - data[i + 1]));
  return gaps;
}
