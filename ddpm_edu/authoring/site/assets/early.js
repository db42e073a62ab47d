// 在页面画出来之前就要定的：主题（免得先闪一下亮色）与公式的写法
try {
  const theme = localStorage.getItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* 有的浏览器不让从硬盘打开的页面存东西；那就跟着系统 */ }
window.MathJax = {
  tex: { inlineMath: [["$", "$"]] },
  svg: { mtextInheritFont: true },
  options: { enableMenu: false },
};
