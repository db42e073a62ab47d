"""课程的文字与代码：每一行讲到、每个参数有卡片、符号与术语都在表里；检查本身也要能失败"""
import dataclasses
import inspect
import re
import unicodedata

import pytest

from ddpm_edu import DDPM
from ddpm_edu.authoring import coverage
from ddpm_edu.authoring.build import sources
from ddpm_edu.teach.cards import CARDS, CardView
from ddpm_edu.teach.source import SourceView, qualified_name, resolve
from ddpm_edu.teach.terms import SYMBOLS, TERMS

PATHS = sources()


def prose(path):
    return "\n\n".join(cell.text for cell in coverage.read_cells(path) if not cell.code)


# ---- 源码展示 ----

def example(a):
    first = a + 1
    second = first * 2
    third = second - first
    return third


def test_shown_source_is_the_real_source_with_marks_on_their_own_lines():
    view = SourceView(example, "def example", "second =", stop="third =")
    assert view.code() == ("# ── ①\ndef example(a):\n    first = a + 1\n    # ── ②\n    second = first * 2\n"
                           "    third = second - first\n# …")
    plain = [line for line in SourceView(DDPM.p_losses).code().splitlines()]
    assert "\n".join(plain) == inspect.cleandoc("\n" + inspect.getsource(DDPM.p_losses))


def test_an_anchor_that_is_missing_repeated_or_out_of_order_is_an_error():
    for marks, stop in ((("没有这样的代码",), None), (("first",), None), (("second =", "first ="), None), (("third =",), "second ="),
                        (("def", "def"), None)):
        with pytest.raises(ValueError, match="定位文字|marks"):
            SourceView(example, *marks, stop=stop)


def test_view_carries_markdown_and_plain_text_and_names_the_file():
    bundle = SourceView(DDPM.q_sample, "def q_sample")._repr_mimebundle_()
    assert bundle["text/markdown"].startswith("`ddpm_edu/gaussian.py` · `GaussianDiffusion.q_sample`\n\n```python\n# ── ①\n")
    assert bundle["text/plain"] in bundle["text/markdown"]


def columns(line):
    """一行在屏幕上占几列，汉字占两列"""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line)


def test_shown_source_fits_the_screen():
    # 1400 点宽的窗口、左边开着文件列表，JupyterLab 里一行放得下 104 列，再长就从词的中间折断
    assert columns("x = \"汉字\"") == 10
    assert not [line for path in PATHS for view, _ in coverage.views(path) for line in view.code().splitlines() if columns(line) > 104]


# ---- 覆盖 ----

def test_every_line_the_course_claims_to_explain_is_shown_and_annotated():
    rows = coverage.line_coverage()
    assert rows and [(name, missing) for _, name, total, missing in rows if missing or not total] == []


def test_the_course_claims_every_method_of_the_public_surface():
    contract = """__init__ register_schedule q_mean_variance q_sample predict_start_from_noise predict_start_from_z_and_v
        predict_eps_from_z_and_v get_v q_posterior p_mean_variance p_sample p_sample_loop sample get_loss p_losses forward get_input
        shared_step training_step validation_step ema_scope init_from_ckpt log_images configure_optimizers""".split()
    claimed = {qualified_name(resolve(name)) for names in coverage.EXPLAINED.values() for name in names}
    assert not {name for name in contract if qualified_name(getattr(DDPM, name)) not in claimed}


BOOK = """# %%
from ddpm_edu.schedules import alphas_cumprod, make_beta_schedule
from ddpm_edu.teach import card, check, show_source

# %%
show_source({target})

# %% [markdown]
# - ① {note}

# %%
{card}
"""


def write_book(folder, target='alphas_cumprod, "def alphas_cumprod"', note="连乘得到两串数，平移一格。", card=""):
    path = folder / "01_book.py"
    path.write_text(BOOK.format(target=target, note=note, card=card), encoding="utf-8")
    return path


def test_a_line_counts_only_when_its_mark_is_explained(tmp_path):
    name = "schedules.alphas_cumprod"
    assert coverage.explained_lines(write_book(tmp_path))[name] == {0, 1, 2, 3}
    for without in ({"note": "略"}, {"note": ""}, {"target": "alphas_cumprod"}):
        assert coverage.explained_lines(write_book(tmp_path, **without)) == {}
    # 一个标号管得太多，等于没有讲
    assert coverage.explained_lines(write_book(tmp_path, target='make_beta_schedule, "def make_beta_schedule"')) == {}


def test_a_card_counts_only_with_a_demonstration(tmp_path, monkeypatch):
    def covered(text):
        path = write_book(tmp_path, card=text)
        monkeypatch.setattr(coverage, "sources", lambda: [path])
        return coverage.card_coverage()["timesteps"]

    assert covered('card("timesteps")\ncheck("步数", f(timesteps=3), 3)') == [(1, True)]
    assert covered('card("timesteps")') == [(1, False)]
    assert covered('card("timesteps")\nDDPM(timesteps=3)') == [(1, False)]
    assert covered('card("timesteps")\ncheck("无关", 1, 1)') == [(1, False)]
    assert covered("") == []


def test_every_constructor_parameter_has_one_card_with_a_demonstration_in_its_chapter():
    assert list(CARDS) == coverage.parameters()
    assert coverage.card_coverage() == {name: [(card.chapter, True)] for name, card in CARDS.items()}


def test_every_card_is_complete_and_points_at_lines_that_exist():
    for name, view in {name: CardView(name) for name in CARDS}.items():
        assert all(len(text) >= 6 for text in (view.card.meaning, view.card.wrong)) and "$" in view.card.formula, name
        assert len(view.places()) == len(view.card.used) >= 1, name
        # 表格里的竖线会把格子切断；行内代码里的竖线也一样
        assert all(row.count("|") == 3 for row in view.markdown().splitlines()), name


def test_a_card_whose_code_has_changed_is_an_error(monkeypatch):
    gone = dataclasses.replace(CARDS["timesteps"], used=(("schedules.make_beta_schedule", "这一行已经改掉"),))
    monkeypatch.setitem(CARDS, "timesteps", gone)
    with pytest.raises(ValueError, match="定位文字"):
        CardView("timesteps").markdown()


def test_the_course_map_lists_every_book_and_the_table_behind_it_notices_a_gap(monkeypatch):
    table = coverage.CoverageTable()
    shown = table.markdown()
    assert table.complete() and shown.endswith("| 37 |")
    links = re.findall(r"\]\((\w+\.ipynb)\)", shown)
    # 课程地图列出除了它自己之外的每一本
    assert links == [f"{path.stem}.ipynb" for path in PATHS[1:]] and all((PATHS[0].parents[1] / link).exists() for link in links)
    monkeypatch.setitem(coverage.EXPLAINED, 1, ("ddpm.DDPM.__init__", "ddpm.DDPM.configure_optimizers", "images.make_grid"))
    assert not coverage.CoverageTable().complete()


def test_marks_in_the_prose_are_exactly_the_marks_in_the_code():
    for view, text in (shown for path in PATHS for shown in coverage.views(path)):
        used = [mark for mark, _ in coverage.MARKED.findall(text)]
        # 没有标号的展示（找 bug 时不许剧透），后面也不该有标号
        assert used == [mark for mark, _ in view.blocks() if mark], (view.name, used)


def test_shown_code_has_no_combining_marks():
    # 等宽字体里，叠在字母上的波浪和尖帽会错位，β 加波浪看上去像 β7
    for path in PATHS:
        shown = [view.code() for view, _ in coverage.views(path)] + [cell.text for cell in coverage.read_cells(path) if cell.code]
        assert not [text for text in shown if re.search("[\u0300-\u036f]", text)], path.stem


# ---- 符号与术语 ----

GREEK = "alpha|beta|gamma|delta|epsilon|varepsilon|eta|theta|kappa|lambda|mu|nu|xi|rho|sigma|tau|phi|varphi|chi|psi|omega|Sigma"


def letters(tex):
    """公式里用到的字母；正体的单词（text、mathrm）与函数名不算"""
    tex = re.sub(r"\\(text|mathrm|underbrace|begin|end)\{[^{}]*\}(\{[lcr]*\})?", " ", tex)
    tex = re.sub(r"\\(mathcal|mathbb|mathrm)\s*[A-Za-z]", " ", tex)
    found = set(re.findall(rf"\\({GREEK})(?![A-Za-z])", tex))
    return found | set(re.findall(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", " ", tex)))


def formulas(text):
    text = re.sub(r"`[^`]*`", " ", text)
    return ["".join(pair) for pair in re.findall(r"\$\$(.+?)\$\$|\$([^$]+?)\$", text, flags=re.S)]


KNOWN = set().union(*(letters(symbol.latex) for symbol in SYMBOLS))


def test_every_letter_in_a_formula_is_in_the_symbol_table():
    texts = {path.stem: prose(path) for path in PATHS} | {name: CardView(name).markdown() for name in CARDS}
    for title, text in texts.items():
        for formula in formulas(text):
            assert letters(formula) <= KNOWN, (title, letters(formula) - KNOWN, formula)


def test_the_symbol_scanner_sees_an_unknown_letter():
    assert letters(r"\bar\alpha_t + \zeta_j") - KNOWN >= {"j"} and letters(r"\text{word}\mathrm{SNR}_t") == {"t"}
    assert formulas("价格 `$x$` 与 $a+b$\n$$c$$") == ["a+b", "c"]


def test_code_names_in_the_symbol_table_exist():
    from ddpm_edu.configs.recipes import toy_model_config

    model = DDPM(**toy_model_config())
    elsewhere = {"t", "x_t", "noise", "v", "target", "x_recon", "x_start", "num_updates", "loss", "cond", "guidance_scale", "ema_decay",
                 "learning_rate", "scheduler_config"}
    for symbol in SYMBOLS:
        for name in symbol.code.split(", "):
            assert not name or name in elsewhere or hasattr(model, name), symbol


def test_the_prose_uses_only_the_agreed_terms():
    for path in [path for path in PATHS if not path.stem.startswith("90")]:
        text = path.read_text(encoding="utf-8")
        found = {variant: term.chinese for term in TERMS for variant in term.avoid if variant in text}
        assert not found, f"{path.stem}：左边的应写成右边的 {found}"


def test_a_term_brings_its_english_the_first_time():
    for term in TERMS:
        path = next(path for path in PATHS if path.stem.startswith(f"{term.chapter:02d}"))
        body = prose(path).partition("\n## ")[2].partition("\n")[2]
        body = "\n".join(line for line in body.splitlines() if not line.startswith("#")).replace("**", "")
        before, found, following = body.partition(term.chinese)
        assert found and following.lower().startswith(f" ({term.english.lower()}"), (term.chinese, following[:30])


def test_formulas_are_balanced():
    for path in PATHS:
        text = re.sub(r"`[^`]*`", " ", prose(path))
        assert text.count("$") % 2 == 0, path.stem
        for formula in formulas(text):
            assert formula.count("{") == formula.count("}"), formula
            assert len(re.findall(r"\\left(?![a-z])", formula)) == len(re.findall(r"\\right(?![a-z])", formula)), formula


def test_the_program_of_chapter_one_fits_on_a_page():
    """第 1 章的程序：噪声表、网络、训练、采样，合起来五十几行"""
    cells = [cell.text for cell in coverage.read_cells(next(path for path in PATHS if path.stem.startswith("01_"))) if cell.code]
    starts = ("T = 1000", "class Denoiser", "torch.manual_seed(0)\nnetwork", "@torch.no_grad()\ndef denoise")
    program = [next(text for text in cells if text.startswith(start)) for start in starts]
    assert sum(bool(line.strip()) for text in program for line in text.splitlines()) <= 60
