// 面板里的字：照 Python 的写法写数，把短的 TeX 变成 HTML
(() => {
  "use strict";
  const ddpm = globalThis.ddpm = globalThis.ddpm || {};

  // 1e-5 → 1e-05
  const exponent = text => text.replace(/e([+-])(\d)$/, "e$10$2");

  // format(0.25, ".1%") → "25.0%"；认得 d、.nf、.ne、.ng、.n%，g 不写精度时是 6 位
  function format(value, spec) {
    const [, digits, kind] = /^(?:\.(\d+))?([defg%])$/.exec(spec);
    if (kind === "d") return String(value);
    if (kind === "f") return value.toFixed(digits);
    if (kind === "%") return `${(100 * value).toFixed(digits)}%`;
    if (kind === "e") return exponent(value.toExponential(digits));
    if (value === 0) return "0";
    const precision = digits === undefined ? 6 : Math.max(Number(digits), 1);
    const [head, power] = value.toExponential(precision - 1).split("e");
    const bare = text => text.includes(".") ? text.replace(/\.?0+$/, "") : text;
    return power < -4 || power >= precision ? exponent(`${bare(head)}e${power}`) : bare(value.toFixed(precision - 1 - power));
  }

  const LETTERS = {
    alpha: "α", beta: "β", sigma: "σ", theta: "θ", eta: "η", varepsilon: "ε", epsilon: "ϵ", lambda: "λ", mu: "μ", phi: "φ", pi: "π",
    sqrt: "√", times: "×", cdot: "·", le: "≤", ge: "≥", approx: "≈", pm: "±", infty: "∞",
  };
  const OPERATORS = {"=": "\u2009=\u2009", "+": "\u2009+\u2009", "-": "\u2009−\u2009"};
  const ACCENTS = {bar: "¯", tilde: "~", hat: "^"};
  const escape = text => text.replace(/[&<>]/g, c => ({"&": "&amp;", "<": "&lt;", ">": "&gt;"})[c]);

  // 一小段 TeX（$ 之间的）→ HTML：斜体的字母、上下标、头上的一横一撇
  function math(source) {
    const tokens = source.match(/\\[a-zA-Z]+|\\.|[\s\S]/g) || [];
    let at = 0;

    function group() {
      while (tokens[at] === " ") at++;
      const token = tokens[at++];
      if (token === undefined) return "";
      if (token !== "{") return atom(token);
      let html = "";
      while (at < tokens.length && tokens[at] !== "}") html += piece();
      at++;
      return html;
    }

    function atom(token) {
      const name = token.slice(1);
      if (token[0] !== "\\") return /[A-Za-z]/.test(token) ? `<i>${token}</i>` : OPERATORS[token] || escape(token.trim());
      if (name in ACCENTS) {
        const body = group(), low = /<i>[acegm-su-zαεσημ]<\/i>/.test(body) ? " low" : "";
        return `<span class="accent${low}" data-mark="${ACCENTS[name]}">${body}</span>`;
      }
      if (/^(mathcal|mathdefault|mathrm|text)$/.test(name)) return group();
      if (name in LETTERS) return /[^\x00-\x7f×·≤≥≈±∞√]/.test(LETTERS[name]) ? `<i>${LETTERS[name]}</i>` : LETTERS[name];
      if (/^[,;! ]$/.test(name)) return " ";
      throw new SyntaxError(`面板的字里有不认得的 TeX：${token}`);
    }

    // 一个字，连同它的上下标；两样都有时叠在一起
    function piece() {
      const base = group(), marks = {};
      while (tokens[at] === "_" || tokens[at] === "^") marks[tokens[at++]] = group();
      if (marks._ && marks["^"]) return `${base}<span class="both"><sup>${marks["^"]}</sup><sub>${marks._}</sub></span>`;
      return base + (marks._ ? `<sub>${marks._}</sub>` : "") + (marks["^"] ? `<sup>${marks["^"]}</sup>` : "");
    }

    let html = "";
    while (at < tokens.length) html += piece();
    return `<span class="math">${html}</span>`;
  }

  // 汉字与 $TeX$ 混排的一行 → HTML
  const words = text => text.split(/\$([^$]*)\$/).map((part, i) => i % 2 ? math(part) : escape(part)).join("");

  // 刻度：$10^{-4}$ → 10⁻⁴
  const RAISED = {"-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹"};
  const tick = text => text.replace(/\$\\mathdefault\{(.*)\}\$/, "$1").replace(/\^\{(.*?)\}/g, (_, power) => [...power].map(c => RAISED[c]).join(""));

  Object.assign(ddpm, {format, words, tick});
})();
