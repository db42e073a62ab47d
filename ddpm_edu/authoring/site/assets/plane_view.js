// 一张画布上的平面：横竖都从 -LIMIT 到 LIMIT；颜色取自页面上图例的字，主题换了就重画
"use strict";

const LIMIT = 2.6;

class View {
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
  }

  // 擦干净，照画布现在的大小与屏幕的密度重定尺寸
  clear() {
    const side = this.canvas.clientWidth, sharp = devicePixelRatio;
    this.canvas.width = this.canvas.height = Math.round(side * sharp);
    this.pen.setTransform(sharp * side / (2 * LIMIT), 0, 0, -sharp * side / (2 * LIMIT), sharp * side / 2, sharp * side / 2);
    this.unit = 2 * LIMIT / side;
  }

  // 鼠标、手指的位置 → 平面上的点
  place({clientX, clientY}) {
    const box = this.canvas.getBoundingClientRect(), half = box.width / 2;
    return [(clientX - box.left - half) / half * LIMIT, (half - clientY + box.top) / half * LIMIT];
  }

  // 半径、粗细都以屏幕的像素计
  dots(points, color, radius, opacity = 1) {
    this.style(color, 1, opacity);
    for (let k = 0; k < points.length; k += 2) {
      this.pen.beginPath();
      this.pen.arc(points[k], points[k + 1], radius * this.unit, 0, 2 * Math.PI);
      this.pen.fill();
    }
  }

  // 折线：paths 里每条是 x, y, x, y …
  lines(paths, color, width, opacity = 1) {
    this.style(color, width, opacity);
    for (const path of paths) {
      this.pen.beginPath();
      for (let k = 0; k < path.length; k += 2) this.pen.lineTo(path[k], path[k + 1]);
      this.pen.stroke();
    }
  }

  // 箭头：从 at 的每个点指向 move，太长的截短到 longest
  arrows(at, move, color, longest) {
    this.style(color, 1.3, 1);
    for (let k = 0; k < at.length; k += 2) {
      const length = Math.hypot(move[k], move[k + 1]), scale = length > longest ? longest / length : 1;
      const [x, y, dx, dy] = [at[k], at[k + 1], scale * move[k], scale * move[k + 1]];
      this.pen.beginPath();
      this.pen.moveTo(x, y);
      this.pen.lineTo(x + dx, y + dy);
      this.pen.lineTo(x + 0.65 * dx - 0.2 * dy, y + 0.65 * dy + 0.2 * dx);
      this.pen.moveTo(x + dx, y + dy);
      this.pen.lineTo(x + 0.65 * dx + 0.2 * dy, y + 0.65 * dy - 0.2 * dx);
      this.pen.stroke();
    }
  }

  // 键盘用的十字
  cross([x, y], color) {
    const arm = 8 * this.unit;
    this.lines([[x - arm, y, x + arm, y], [x, y - arm, x, y + arm]], color, 2);
  }

  // color 是图例里的类名
  style(color, width, opacity) {
    const paint = getComputedStyle(document.querySelector(`.legend .${color}`)).color;
    Object.assign(this.pen, {fillStyle: paint, strokeStyle: paint, lineWidth: width * this.unit, globalAlpha: opacity});
  }
}

// 主题或窗口变了，重画
function onRestyle(redraw) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new MutationObserver(redraw).observe(document.documentElement, {attributes: true});
  addEventListener("resize", redraw);
}
