"""知识库里的公式 → MathML：浏览器自己会排，网页就不必带上排版的程序。只认知识库与参数卡片里用到的那些写法"""
import html
import re

TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[0-9]+(?:\.[0-9]+)?|\S|\s+")
LETTERS = {"alpha": "α", "beta": "β", "gamma": "γ", "varepsilon": "ε", "theta": "θ", "sigma": "σ", "mu": "μ", "eta": "η", "pi": "π", "tau": "τ",
           "lambda": "λ", "ell": "ℓ", "varnothing": "∅"}
SIGNS = {"leftarrow": "←", "to": "→", "in": "∈", "notin": "∉", "sim": "∼", "mid": "∣", "le": "≤", "cdot": "⋅", "times": "×", "dots": "…",
         "prod": "∏", "cup": "∪", "lvert": "|", "rvert": "|", "lVert": "‖", "rVert": "‖", "|": "‖", "{": "{", "}": "}"}
WORDS = ("min", "max", "ln", "cos", "arg", "log")
ACCENTS = {"bar": "¯", "hat": "^", "tilde": "~", "overline": "¯"}
STYLED = {"mathcal": {"L": "ℒ", "N": "𝒩", "U": "𝒰", "KL": "KL"}, "mathbb": {"E": "𝔼", "R": "ℝ", "1": "𝟙"}}
SPACES = {",": "0.17em", " ": "0.3em", "!": "-0.17em", ";": "0.28em"}


def mathml(formula):
    """一条行内公式；有不认得的写法时 ValueError"""
    tokens = TOKEN.findall(formula)
    body = row(tokens, None)
    return f"<math>{body}</math>"


def row(tokens, stop):
    """读到 stop 为止的一串"""
    parts = []
    while tokens and tokens[0] != stop:
        token = tokens.pop(0)
        if token in "^_":
            parts.append(scripted(parts.pop() if parts else "<mrow></mrow>", token, tokens))
        elif not token.isspace():
            parts.append(atom(token, tokens))
    if stop:
        if not tokens:
            raise ValueError(f"公式里少一个 {stop}")
        tokens.pop(0)
    return parts[0] if len(parts) == 1 else f"<mrow>{''.join(parts)}</mrow>"


def scripted(base, mark, tokens):
    """上标、下标；两样都有时合在一起"""
    inner, other = argument(tokens), "_" if mark == "^" else "^"
    if tokens and tokens[0] == other:
        tokens.pop(0)
        second = argument(tokens)
        low, high = (inner, second) if mark == "_" else (second, inner)
        return f"<msubsup>{base}{low}{high}</msubsup>"
    tag = "msup" if mark == "^" else "msub"
    return f"<{tag}>{base}{inner}</{tag}>"


def argument(tokens):
    """跟在命令或上下标后面的一个字，或花括号里的一串"""
    while tokens and tokens[0].isspace():
        tokens.pop(0)
    if not tokens:
        raise ValueError("公式没有写完")
    token = tokens.pop(0)
    return row(tokens, "}") if token == "{" else atom(token, tokens)


def raw(tokens):
    """花括号里的字，原样取出"""
    if tokens[0] != "{":
        return tokens.pop(0)
    end = tokens.index("}")
    text = "".join(tokens[1:end])
    del tokens[:end + 1]
    return text


def atom(token, tokens):
    if token == "{":
        return row(tokens, "}")
    if not token.startswith("\\"):
        tag = "mn" if token[0].isdigit() else "mi" if token.isalpha() else "mo"
        return f"<{tag}>{html.escape(token)}</{tag}>"
    name = token[1:]
    if name in SPACES:
        return f'<mspace width="{SPACES[name]}"></mspace>'
    if name in LETTERS:
        return f"<mi>{LETTERS[name]}</mi>"
    if name in WORDS:
        # 函数名后面空一点
        return f"<mrow><mi>{name}</mi><mspace width=\"0.1em\"></mspace></mrow>"
    if name in SIGNS:
        return f"<mo>{SIGNS[name]}</mo>"
    return command(name, tokens)


def command(name, tokens):
    if name in ("left", "right"):
        return f"<mo>{html.escape(tokens.pop(0))}</mo>"
    if name == "frac":
        return f"<mfrac>{argument(tokens)}{argument(tokens)}</mfrac>"
    if name == "sqrt":
        return f"<msqrt>{argument(tokens)}</msqrt>"
    if name in ACCENTS:
        return f'<mover accent="true">{argument(tokens)}<mo>{ACCENTS[name]}</mo></mover>'
    if name in ("text", "mathrm"):
        return f"<mtext>{html.escape(raw(tokens))}</mtext>"
    if name in STYLED:
        text = raw(tokens)
        return f"<mi>{STYLED[name].get(text, text)}</mi>"
    raise ValueError(f"公式里有不认得的 \\{name}")
