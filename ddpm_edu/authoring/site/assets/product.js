// 矩阵相乘：两页的网络，时间几乎全花在这里
"use strict";

// a·bᵀ：a 是 (行, inner)，b 是 (列, inner)，一行接一行地放；返回 (行, 列)
// 两行、四列一起算，读进来的数用得最多；行数、列数除不尽时，最后一行、一列重复算，不另写一份
function product(a, b, inner) {
  const rows = a.length / inner, columns = b.length / inner, out = new Float32Array(rows * columns);
  for (let n = 0; n < rows; n += 2) {
    const m = Math.min(n + 1, rows - 1), first = n * inner, second = m * inner;
    for (let o0 = 0; o0 < columns; o0 += 4) {
      const last = columns - 1, o1 = Math.min(o0 + 1, last), o2 = Math.min(o0 + 2, last), o3 = Math.min(o0 + 3, last);
      const p = o0 * inner, q = o1 * inner, r = o2 * inner, s = o3 * inner, i = n * columns, j = m * columns;
      let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
      for (let k = 0; k < inner; k++) {
        const u = a[first + k], v = a[second + k], w0 = b[p + k], w1 = b[q + k], w2 = b[r + k], w3 = b[s + k];
        a0 += u * w0; a1 += u * w1; a2 += u * w2; a3 += u * w3;
        b0 += v * w0; b1 += v * w1; b2 += v * w2; b3 += v * w3;
      }
      out[i + o0] = a0; out[i + o1] = a1; out[i + o2] = a2; out[i + o3] = a3;
      out[j + o0] = b0; out[j + o1] = b1; out[j + o2] = b2; out[j + o3] = b3;
    }
  }
  return out;
}

// 每一行都加上同一个向量，就地改
function addVector(rows, vector) {
  for (let start = 0; start < rows.length; start += vector.length) for (let c = 0; c < vector.length; c++) rows[start + c] += vector[c];
  return rows;
}
