// 书的几件小事：换主题、标出读到哪一节、提示、源码的标号、打印前展开折叠的内容。没有脚本时，页面照样能读
(() => {
  const all = (where, root = document) => [...root.querySelectorAll(where)];
  const root = document.documentElement;

  // 主题：跟着系统，按了按钮就记住
  const button = document.querySelector("[data-theme-button]");
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const label = () => { button.textContent = dark() ? "浅色" : "深色"; button.setAttribute("aria-label", `换成${button.textContent}主题`); };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* 存不下就只管这一页 */ }
    label();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  label();

  // 读到哪一节：最后一个已经过了屏幕上沿的标题
  const places = new Map(all("#here a").map(a => [decodeURIComponent(a.hash.slice(1)), a]));
  const heads = all("article :is(h2, h3)").filter(h => places.has(h.id));
  let waiting = false;
  const locate = () => {
    waiting = false;
    const now = heads.filter(h => h.getBoundingClientRect().top < 120).pop();
    for (const [id, a] of places) {
      if (now?.id !== id) a.removeAttribute("aria-current");
      else if (!a.hasAttribute("aria-current")) {
        a.setAttribute("aria-current", "location");
        const list = a.closest("nav");
        if (list.scrollHeight > list.clientHeight) list.scrollTop = a.offsetTop - list.clientHeight / 2;
      }
    }
  };
  if (heads.length) {
    addEventListener("scroll", () => { if (!waiting) { waiting = true; requestAnimationFrame(locate); } }, { passive: true });
    locate();
  }
  all("nav[popover]").forEach(nav => nav.addEventListener("click", e => { if (e.target.closest("a")) nav.hidePopover?.(); }));
  // 全书的目录很长，先转到这一章
  const book = document.getElementById("book"), here = book.querySelector("[aria-current]");
  if (here) book.scrollTop = here.offsetTop - book.clientHeight / 3;

  const MARK = /^[①-⑫]$/;
  const watch = (element, enter, leave) => {
    for (const event of ["mouseenter", "focus"]) element.addEventListener(event, enter);
    for (const event of ["mouseleave", "blur"]) element.addEventListener(event, leave);
  };

  // ①：说明里的标号点亮它的那几行，反过来也一样
  const lines = new Map();
  for (const a of all("li > a[href^='#cell-id=']").filter(a => MARK.test(a.textContent))) {
    const cell = document.getElementById(a.hash.slice(1));
    const block = cell && all(".block", cell).find(b => b.dataset.mark === a.textContent);
    if (!block) continue;
    lines.set(a, block);
    const light = on => () => [block, a.parentElement].forEach(e => e.classList.toggle("lit", on));
    for (const element of [a, block]) watch(element, light(true), light(false));
  }

  // 提示：鼠标停上去或键盘移到那里都看得到，Esc 收起
  const tip = document.createElement("div");
  Object.assign(tip, { className: "tip", id: "tip", role: "tooltip", hidden: true });
  document.body.append(tip);
  const seen = block => block && block.getBoundingClientRect().top > 52 && block.getBoundingClientRect().bottom < innerHeight;
  const show = a => {
    // 那几行就在眼前，点亮就够了
    if (seen(lines.get(a))) return;
    tip.textContent = a.dataset.tip;
    tip.classList.toggle("code", MARK.test(a.textContent));
    tip.hidden = false;
    const at = a.getBoundingClientRect(), box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(at.left, innerWidth - box.width - 8))}px`;
    tip.style.top = `${at.bottom + box.height + 10 < innerHeight ? at.bottom + 6 : Math.max(8, at.top - box.height - 6)}px`;
    a.setAttribute("aria-describedby", "tip");
  };
  const hide = a => { tip.hidden = true; a.removeAttribute("aria-describedby"); };
  for (const a of all("a[title]")) {
    a.dataset.tip = a.title;
    a.removeAttribute("title");
    watch(a, () => show(a), () => hide(a));
  }
  addEventListener("keydown", e => { if (e.key === "Escape") tip.hidden = true; });

  // 会左右滚动的框要能用键盘滚；公式排好以后才知道谁宽
  const scrollable = () => all("mjx-container[display='true'], table, pre").forEach(e => {
    if (e.scrollWidth > e.clientWidth + 1) e.tabIndex = 0;
  });
  addEventListener("load", () => (window.MathJax?.startup?.promise ?? Promise.resolve()).then(scrollable));
  addEventListener("resize", scrollable);

  // 打印时全部展开，打印完照旧
  let closed = [];
  addEventListener("beforeprint", () => { closed = all("details:not([open])"); closed.forEach(d => { d.open = true; }); });
  addEventListener("afterprint", () => closed.forEach(d => { d.open = false; }));
})();
