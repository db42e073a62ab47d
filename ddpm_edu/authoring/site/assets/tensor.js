// 网络用到的几种运算。图是 {data, side, channels}：边长 side，一个像素的各通道挨着放（NHWC，没有 N）
"use strict";

// 半精度的 16 位 → 数
const HALF = Float32Array.from({length: 65536}, (_, bits) => {
  const sign = bits >> 15 ? -1 : 1, exponent = bits >> 10 & 31, fraction = bits & 1023;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
});

// base64 写成的 safetensors 文件（半精度，小端）→ {名字: {shape, data: Float32Array}}；名字去掉 prefix
function readWeights(base64, prefix) {
  const text = atob(base64), bytes = new Uint8Array(text.length), weights = {};
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const start = 8 + new DataView(bytes.buffer).getUint32(0, true), header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
  for (const [name, {dtype, shape, data_offsets: [from, to]}] of Object.entries(header)) {
    if (!name.startsWith(prefix)) continue;
    if (dtype !== "F16") throw new Error(`${name} 应为半精度 F16，得到 ${dtype}`);
    const halves = new Uint16Array(bytes.buffer, start + from, (to - from) / 2), data = new Float32Array(halves.length);
    for (let i = 0; i < data.length; i++) data[i] = HALF[halves[i]];
    weights[name.slice(prefix.length)] = {shape, data};
  }
  return weights;
}

// 权重 (出, 入, 高, 宽) → 一个输出的数排成一行，次序 (高, 宽, 入)，与 patches 切出的相同
function asRows({shape, data}) {
  const [outputs, inputs, kernel = 1] = shape, spots = kernel ** 2, length = inputs * spots, rows = new Float32Array(data.length);
  for (let o = 0; o < outputs; o++)
    for (let i = 0; i < inputs; i++)
      for (let s = 0; s < spots; s++) rows[o * length + s * inputs + i] = data[o * length + i * spots + s];
  return {data: rows, outputs, length, kernel};
}

// 每个输出像素看到的 3×3 小块排成一行，出界的补 0
function patches({data, side, channels}, stride) {
  const small = side / stride, rows = new Float32Array(small * small * 9 * channels);
  for (let y = 0; y < small; y++)
    for (let x = 0; x < small; x++)
      for (let ky = 0; ky < 3; ky++)
        for (let kx = 0; kx < 3; kx++) {
          const top = y * stride + ky - 1, left = x * stride + kx - 1;
          if (top < 0 || left < 0 || top >= side || left >= side) continue;
          const from = (top * side + left) * channels, to = ((y * small + x) * 9 + ky * 3 + kx) * channels;
          for (let c = 0; c < channels; c++) rows[to + c] = data[from + c];
        }
  return rows;
}

// 3×3（补一圈 0）或 1×1 的卷积
function convolve(image, {weight, bias}, stride = 1) {
  const rows = weight.kernel === 3 ? patches(image, stride) : image.data;
  return {data: addVector(product(rows, weight.data, weight.length), bias), side: image.side / stride, channels: weight.outputs};
}

const silu = value => value / (1 + Math.exp(-value));

// GroupNorm，可以接着过 SiLU；组数的规矩同 ddpm_edu/unet.py 的 normalization
function normalize(image, {scale, shift}, activate) {
  const {data, side, channels} = image, pixels = side * side, out = new Float32Array(data.length);
  const divisor = (a, b) => b ? divisor(b, a % b) : a;
  const size = channels / divisor(divisor(32, channels), Math.max(1, channels >> 2)), count = size * pixels;
  for (let start = 0; start < channels; start += size) {
    let sum = 0, squares = 0;
    for (let p = start; p < data.length; p += channels) for (let c = 0; c < size; c++) sum += data[p + c];
    const mean = sum / count;
    for (let p = start; p < data.length; p += channels) for (let c = 0; c < size; c++) squares += (data[p + c] - mean) ** 2;
    const over = 1 / Math.sqrt(squares / count + 1e-5);
    for (let p = 0; p < data.length; p += channels)
      for (let c = start; c < start + size; c++) {
        const value = (data[p + c] - mean) * over * scale[c] + shift[c];
        out[p + c] = activate ? silu(value) : value;
      }
  }
  return {data: out, side, channels};
}

// 自注意力：一行是一个像素的 q、k、v 三段；返回每个像素的加权平均
function attend({data, side, channels}) {
  const width = channels / 3, pixels = side * side, out = new Float32Array(pixels * width), weights = new Float64Array(pixels);
  for (let i = 0; i < pixels; i++) {
    let top = -Infinity, total = 0;
    for (let j = 0; j < pixels; j++) {
      let dot = 0;
      for (let c = 0; c < width; c++) dot += data[i * channels + c] * data[j * channels + width + c];
      weights[j] = dot / Math.sqrt(width);
      top = Math.max(top, weights[j]);
    }
    for (let j = 0; j < pixels; j++) total += weights[j] = Math.exp(weights[j] - top);
    for (let j = 0; j < pixels; j++)
      for (let c = 0; c < width; c++) out[i * width + c] += weights[j] / total * data[j * channels + 2 * width + c];
  }
  return {data: out, side, channels: width};
}

// 最近邻放大两倍
function enlarge({data, side, channels}) {
  const big = 2 * side, out = new Float32Array(4 * data.length);
  for (let y = 0; y < big; y++)
    for (let x = 0; x < big; x++) {
      const from = ((y >> 1) * side + (x >> 1)) * channels;
      out.set(data.subarray(from, from + channels), (y * big + x) * channels);
    }
  return {data: out, side: big, channels};
}

// 沿通道拼起来
function concatenate(a, b) {
  const channels = a.channels + b.channels, out = new Float32Array(a.data.length + b.data.length);
  for (let p = 0; p < a.side * a.side; p++) {
    out.set(a.data.subarray(p * a.channels, (p + 1) * a.channels), p * channels);
    out.set(b.data.subarray(p * b.channels, (p + 1) * b.channels), p * channels + a.channels);
  }
  return {data: out, side: a.side, channels};
}

// 相加，结果放在 a 里
function addInto(a, b) {
  for (let i = 0; i < a.data.length; i++) a.data[i] += b.data[i];
  return a;
}

// p×p 个像素叠成一个位置的 p² 个通道，与摊开；只有一个颜色通道
function fold(pixels, side, p) {
  const small = side / p, data = new Float32Array(pixels.length);
  for (let y = 0; y < side; y++)
    for (let x = 0; x < side; x++) data[(((y / p | 0) * small + (x / p | 0)) * p + y % p) * p + x % p] = pixels[y * side + x];
  return {data, side: small, channels: p * p};
}

function unfold({data, side: small}, p) {
  const side = small * p, pixels = new Float32Array(data.length);
  for (let y = 0; y < side; y++)
    for (let x = 0; x < side; x++) pixels[y * side + x] = data[(((y / p | 0) * small + (x / p | 0)) * p + y % p) * p + x % p];
  return pixels;
}
