"""公式与标题变成读得出、指得住的字：图的替代文字、目录与地址都用它"""
import re
import unicodedata

GREEK = {"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "varepsilon": "ε", "epsilon": "ε", "eta": "η", "theta": "θ", "lambda": "λ", "mu": "μ",
         "pi": "π", "sigma": "σ", "tau": "τ", "varphi": "φ", "phi": "φ", "chi": "χ", "omega": "ω", "Delta": "Δ", "Sigma": "Σ", "Phi": "Φ"}
SIGNS = {"approx": " ≈ ", "le": " ≤ ", "ge": " ≥ ", "ne": " ≠ ", "pm": "±", "cdot": "·", "times": "×", "sim": " ~ ", "mid": " | ", "in": " ∈ ", "to": " → ",
         "infty": "∞", "dots": "…", "cdots": "…", "sum": "Σ", "prod": "∏", "int": "∫", "nabla": "∇", "propto": " ∝ ", "quad": " ", "qquad": " "}
# 写法不影响读法的命令，连同它们的花括号一起去掉
STYLES = re.compile(r"\\(?:mathcal|mathrm|mathbf|mathbb|text|operatorname|left|right|big|Big|displaystyle)(?![a-zA-Z])\s*")
ACCENTS = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303", "overline": "\u0304"}
LOW, HIGH = str.maketrans("0123456789+-=()tsxijn", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₜₛₓᵢⱼₙ"), str.maketrans("0123456789+-=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿ")

# 替代文字至少几个字
ENOUGH = 30


def spoken(tex):
    """一条公式（不含美元符号）→ 一行字：\\bar\\alpha_t 是 ᾱₜ，\\frac{a}{b} 是 a/b；不认得的命令留下名字"""
    text = STYLES.sub("", tex)
    for name, sign in {**GREEK, **SIGNS}.items():
        text = re.sub(rf"\\{name}(?![a-zA-Z])", sign, text)
    text = re.sub(r"\\(hat|bar|tilde|overline)\s*\{?(\w)\}?", lambda hit: hit[2] + ACCENTS[hit[1]], text)
    # 花括号由里往外拆
    while (inner := re.sub(r"([_^])\s*(?:\{([^{}]*)\}|([^\s{}\\]))", script, text)) != text:
        text = inner
    text = re.sub(r"\\[td]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", lambda hit: f"{grouped(hit[1])}/{grouped(hit[2])}", text)
    text = re.sub(r"\\sqrt\s*\{([^{}]*)\}", lambda hit: f"√{grouped(hit[1])}", text)
    text = re.sub(r"\\([a-zA-Z]+)\s*", r"\1 ", re.sub(r"\\[,;! ]", " ", text))
    return re.sub(r"\s+", " ", re.sub(r"[{}\\]", "", text)).strip()


def script(hit):
    """上下标：有专门的字就用，没有就照写 _ 与 ^"""
    inner = hit[2] if hit[2] is not None else hit[3]
    table = LOW if hit[1] == "_" else HIGH
    if all(ord(letter) in table for letter in inner):
        return inner.translate(table)
    # 换成不再匹配的记号，免得没完没了
    name = inner.strip("\\ ")
    return ("＿" if hit[1] == "_" else "＾") + (name if name.isalnum() else grouped(name))


def grouped(text):
    return text if len(text.replace("\u0304", "").replace("\u0302", "").replace("\u0303", "")) <= 2 else f"({text})"


def formulas(text):
    """一段文字里的 TeX 换成读得出的字，其余不动"""
    return unicodedata.normalize("NFC", re.sub(r"\$\$?([^$]+)\$\$?", lambda hit: spoken(hit[1]).replace("＿", "_").replace("＾", "^"), text))


def readable(text):
    """带公式的一段文字 → 没有 TeX 的一行"""
    return re.sub(r"\s+", " ", formulas(text)).strip()


def opening(caption):
    """图的说明的头一句，不带“图：”与句末的句号；太短就再取一句"""
    first, *rest = re.split(r"(?<=[。！？])", readable(re.sub(r"^(?:图|面板)：", "", caption.strip())))
    while rest and len(first) < ENOUGH:
        first += rest.pop(0)
    return first.rstrip("。")


def slug(title):
    """标题 → 地址里的名字：只由标题的字决定，章节的序号不算，前面添一节也不变；习题的编号是它的名字，留着"""
    return re.sub(r"[^\w.]+", "-", re.sub(r"^\d+　", "", title)).strip("-").casefold()
