// 打印时一节一页：公式与图排好以后，量出每一节要缩到几成才放得下。缩小之后一行放得下更多的字，所以多量几次，取放得下的最大的一个
addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  const HEIGHT = 720 - 2 * 24;
  document.body.classList.add("measure");
  for (const section of document.querySelectorAll("section")) {
    const inside = section.firstElementChild;
    let low = 0.1, fit = 1;
    const tall = scale => { inside.style.zoom = scale; return inside.getBoundingClientRect().height > HEIGHT; };
    if (tall(1)) {
      let high = 1;
      for (let i = 0; i < 6; i++) if (tall((low + high) / 2)) high = (low + high) / 2; else low = (low + high) / 2;
      fit = low;
    }
    inside.style.zoom = "";
    section.style.setProperty("--fit", fit);
  }
  document.body.classList.remove("measure");
});
