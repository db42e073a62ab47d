// 全文检索：在各节的索引里找恰好相同的一串字，不分大小写，空白并成一个；几个词都要有。索引第一次打开时才读
(() => {
  const button = document.querySelector("[data-search]");
  const dialog = document.createElement("dialog");
  dialog.id = "search";
  dialog.setAttribute("aria-label", "搜索全书");
  dialog.innerHTML = `<form role="search"><input type="search" placeholder="词、句子、公式的 TeX、代码" aria-label="找什么" autocomplete="off" spellcheck="false">
    <button type="button">关闭</button></form><p role="status"></p><ol></ol>`;
  document.body.append(dialog);
  const [input, close, status, list] = ["input", "button", "[role=status]", "ol"].map(s => dialog.querySelector(s));
  const SHOWN = 40, AROUND = 36;

  let sections = null;
  async function load() {
    if (sections) return;
    await new Promise((done, failed) => {
      const script = Object.assign(document.createElement("script"), { src: "assets/search-index.js", onload: done, onerror: failed });
      document.head.append(script);
    });
    const packed = Uint8Array.from(atob(window.bookIndex), letter => letter.charCodeAt(0));
    const chapters = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
    sections = chapters.flatMap(([file, chapter, parts]) => parts.map(([title, id, prose, code]) => {
      const fields = [chapter, title, prose, code];
      return { file, chapter, title, id, fields, low: fields.map(fold) };
    }));
  }

  const fold = text => text.toLowerCase().replace(/\s+/g, " ");
  const count = (text, word) => text.split(word).length - 1;
  // 章名、节名里有的排在前面，其次看文字里有几处，代码与输出里的算得轻
  const WEIGHTS = [60, 200, 5, 1];
  function score(section, words) {
    let total = 0;
    for (const word of words) {
      const counts = section.low.map(text => count(text, word));
      if (!counts.some(Boolean)) return 0;
      // 章名只给整章的那一条加分，免得一章的各节都涌上来
      const chapter = section.title === section.chapter ? counts[0] : 0;
      if (!chapter && !counts.slice(1).some(Boolean)) return 0;
      total += WEIGHTS[0] * chapter + WEIGHTS[1] * Math.min(counts[1], 1) + WEIGHTS[2] * Math.min(counts[2], 20) + WEIGHTS[3] * Math.min(counts[3], 20);
    }
    return total;
  }
  const find = query => {
    const words = fold(query).trim().split(" ").filter(Boolean);
    if (!words.length) return { words, hits: [] };
    const hits = sections.map((section, order) => ({ section, order, score: score(section, words) })).filter(hit => hit.score);
    return { words, hits: hits.sort((a, b) => b.score - a.score || a.order - b.order).map(hit => hit.section) };
  };

  // 一段文字里的词都点亮；用文本结点拼，索引里的尖括号不会变成标签
  function lit(text, words) {
    const low = text.toLowerCase(), pieces = [];
    let at = 0;
    while (at < text.length) {
      const next = words.map(word => [low.indexOf(word, at), word.length]).filter(([i]) => i >= 0).sort((a, b) => a[0] - b[0] || b[1] - a[1])[0];
      if (!next) break;
      const mark = document.createElement("mark");
      mark.textContent = text.slice(next[0], next[0] + next[1]);
      pieces.push(text.slice(at, next[0]), mark);
      at = next[0] + next[1];
    }
    return [...pieces, text.slice(at)];
  }
  function around(section, words) {
    const field = [2, 3].find(i => words.some(word => section.low[i].includes(word))) ?? 2;
    const text = section.fields[field], place = Math.max(0, Math.min(...words.map(w => section.low[field].indexOf(w)).filter(i => i >= 0), text.length));
    const from = place === text.length ? 0 : Math.max(0, place - AROUND);
    return (from ? "…" : "") + text.slice(from, from + 4 * AROUND) + (from + 4 * AROUND < text.length ? "…" : "");
  }
  function row(section, words) {
    const item = document.createElement("li"), a = document.createElement("a"), where = document.createElement("small"), hit = document.createElement("p");
    a.href = `${section.file}#${encodeURIComponent(section.id)}`;
    where.textContent = section.title === section.chapter ? "" : section.chapter;
    hit.append(...lit(around(section, words), words));
    a.append(...lit(section.title, words), where, hit);
    item.append(a);
    return item;
  }
  function draw() {
    const { words, hits } = find(input.value);
    list.replaceChildren(...hits.slice(0, SHOWN).map(section => row(section, words)));
    status.textContent = !words.length ? "上下键选，回车打开，Esc 收起" : !hits.length ? "没有找到；换一个短一点的词，几个词用空格隔开"
      : `${hits.length} 节里有` + (hits.length > SHOWN ? `，列出最相关的 ${SHOWN} 节` : "");
  }

  const open = () => {
    dialog.showModal();
    input.select();
    load().then(draw, () => { status.textContent = "读不到索引 assets/search-index.js；把整个文件夹一起复制过来"; });
  };
  button.hidden = false;
  button.addEventListener("click", open);
  close.addEventListener("click", () => dialog.close());
  addEventListener("keydown", e => {
    if (e.key === "/" && !dialog.open && !e.ctrlKey && !e.metaKey && !e.altKey && !/^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName)) {
      e.preventDefault();
      open();
    }
  });
  input.addEventListener("input", () => sections && draw());
  dialog.querySelector("form").addEventListener("submit", e => {
    e.preventDefault();
    list.querySelector("a")?.click();
  });
  dialog.addEventListener("keydown", e => {
    // 搜索框里的 Esc 本来只清空文字
    if (e.key === "Escape") dialog.close();
    const step = { ArrowDown: 1, ArrowUp: -1 }[e.key], stops = [input, ...list.querySelectorAll("a")];
    if (!step) return;
    e.preventDefault();
    stops[Math.max(0, Math.min(stops.length - 1, stops.indexOf(document.activeElement) + step))].focus();
  });
  dialog.addEventListener("click", e => { if (e.target === dialog || e.target.closest("li a")) dialog.close(); });
})();
