"""读者自己的原文件逐句讲解：认得的讲，改写的指出，没有见过的不讲；什么也不执行。这里的文件都是为测试写的"""
import ast
import hashlib
import importlib.util
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

from ddpm_edu.data.download import DataUnavailableError
from ddpm_edu.data.transfer import RemoteFile
from ddpm_edu.original import __main__ as command
from ddpm_edu.original import book, configuration, configuration_page, fetch, page
from ddpm_edu.original.counterparts import BASE, LATENT, counterpart
from ddpm_edu.original.knowledge import WRONG, methods
from ddpm_edu.original.layout import rows
from ddpm_edu.original.mathml import mathml
from ddpm_edu.original.places import address, cell_holding
from ddpm_edu.original.reading import MOST, Unusable, read_original
from ddpm_edu.original.recognise import CHANGED, SEEN, TOLD, UNKNOWN
from ddpm_edu.original.remarks import intact, of_method, of_row
from ddpm_edu.original.settings import argument, setting
from ddpm_edu.original.syntax import digest, listing, statements
from ddpm_edu.original.tables import settings as tables
from ddpm_edu.teach.books import book as chapter_source
from ddpm_edu.teach.cards import CARDS

ROOT = Path(__file__).resolve().parents[1]
MINE = '''"""我自己写的，名字与原文件相同"""
import os


def helper():
    return 1


class DDPM:
    # 一句注释
    def __init__(self, unet_config,
                 channels=3,
                 my_own_switch=False,  # 自己添的
                 ):
        """说明"""
        self.channels: int = channels
        self.v_posterior = 2 * v_posterior
        self.mystery = object()
        print("这句话是我写的")
        print(os.getpid())

        if self.learn_logvar: self.loss_type = loss_type

    def shared_step(self, batch):
        # 只有见过的
        return loss, loss_dict

    def nobody_teaches_this(self):
        return 1

    tail = 3


class Another:
    pass
'''


@pytest.fixture
def mine(tmp_path):
    def write(text=MINE, name="ddpm.py"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def statuses(original, title):
    part = next(part for part in original.parts if part.title == title)
    return [(finding.statement.signature, finding.status) for finding in part.findings]


# ---- 认 ----


def test_known_statements_are_told_changed_ones_shown_unknown_ones_left_alone(mine):
    original = read_original(mine())
    assert statuses(original, "DDPM.__init__") == [
        ("= self.channels", TOLD), ("= self.v_posterior", CHANGED), ("= self.mystery", UNKNOWN), ("call print", TOLD), ("call print", UNKNOWN),
        ("if self.learn_logvar", TOLD), ("= self.loss_type", TOLD)]
    assert original.counts["DDPM"] == {TOLD: 5, CHANGED: 1, UNKNOWN: 3} and set(original.counts) == {"DDPM"}
    assert statuses(original, "DDPM.nobody_teaches_this") == [("return", UNKNOWN)]
    text = page.render(original, ROOT / "build" / "original")
    assert "图的通道数" in text and "已知的版本在这里：存下采样方差的混合比" in text and "没有见过这一句" in text


@pytest.mark.parametrize("one, other", [
    ("x = f(a='b')", 'x = f(a="b")  # 注释'), ("x = f(a=1, b=2)", "x = f(b=2,\n      a=1)"), ("x: int = 1.", "x = 1"),
    ("x = torch.nn.functional.relu(y)", "x = F.relu(y)"), ("x = list()", "x = []"), ("x = {}", "x = dict()"),
    ("assert not a in b, '甲'", "assert a not in b"), ("raise ValueError('甲')", "raise ValueError(f'{x}')"),
    ("super(A, self).__init__()", "super().__init__()"), ("for i in tqdm(y, desc='甲'): pass", "for i in tqdm(y): pass"),
    ("x = np.sqrt(y)", "x = numpy.sqrt((y))"),
])
def test_ways_of_writing_that_mean_the_same_look_the_same(one, other):
    first, second = (ast.parse(text).body[0] for text in (one, other))
    assert digest(first) == digest(second)


@pytest.mark.parametrize("one, other", [
    ("x = a + b", "x = a - b"), ("x = 1e-20", "x = 1e-30"), ("x = f(a)", "x = f(b)"), ("if a: pass", "if not a: pass"), ("x = 'eps'", "x = 'x0'"),
    ("x = f(a, b)", "x = f(b, a)"), ("x = a < b", "x = a <= b"), ("x += 1", "x -= 1"), ("x = {**a}", "x = dict()"), ("return a", "return a, b"),
])
def test_ways_of_writing_that_mean_something_else_look_different(one, other):
    first, second = (ast.parse(text).body[0] for text in (one, other))
    assert digest(first) != digest(second)


def test_a_compound_statement_counts_as_its_head_and_its_contents():
    found = list(statements(ast.parse("if a:\n    b()\nelif c:\n    try:\n        d()\n    except E:\n        pass\nelse:\n    e = 1\n").body))
    assert [(s.signature, s.start) for s in found] == [("if a", 1), ("call b", 2), ("if c", 3), ("try", 4), ("call d", 5), ("excepthandler", 6),
                                                       ("pass", 7), ("= e", 9)]


def test_the_listing_for_the_knowledge_names_the_head_and_each_statement():
    found = list(listing("class A:\n    def f(self, x=1):\n        self.y = x\n"))
    assert [(line, signature) for line, _, signature in found] == [(2, "def f"), (3, "= self.y")]
    assert found[1][1] == digest(ast.parse("self.y = x").body[0])


def test_two_unknown_statements_with_one_signature_are_never_taken_for_a_known_one(mine):
    original = read_original(mine("class DDPM:\n    def forward(self, x):\n        t = 1\n        t = 2\n        return 3\n"))
    assert statuses(original, "DDPM.forward") == [("= t", UNKNOWN), ("= t", UNKNOWN), ("return", CHANGED)]


def test_a_changed_order_and_changed_methods_are_said_before_any_fault_is_blamed(mine):
    body = ["self.channels = channels", "self.loss_type = loss_type", "self.learn_logvar = learn_logvar"]
    moved = read_original(mine("class DDPM:\n    def __init__(self):\n        " + "\n        ".join(reversed(body)) + "\n"))
    (part,) = [part for part in moved.parts if part.method]
    assert part.reordered and not part.touched and "先后" in of_method(part)[-1].text
    kept = read_original(mine("class DDPM:\n    def __init__(self):\n        " + "\n        ".join(body) + "\n"))
    assert not [part for part in kept.parts if part.reordered]


def test_a_fault_that_depends_on_another_method_is_not_asserted_when_that_one_changed(mine):
    step = "class LatentDiffusion:\n    def p_losses(self):\n        logvar_t = self.logvar[t].to(self.device)\n"
    for before, repaired in (("", True), ("class DDPM:\n    def __init__(self):\n        self.loss_type = loss_type\n", False),
                             ("class DDPM:\n    def __init__(self):\n        self.register_buffer('logvar', x)\n", True)):
        original = read_original(mine(before + step))
        part = original.parts[-1] if original.parts[-1].method else original.parts[-2]
        (remark,) = [remark for row in rows(part, original.lines) for remark in of_row(row, part.method, intact(original.parts))]
        assert remark.label == WRONG and ("也许已经改好" in remark.detail) == repaired


# ---- 排 ----


def test_rows_cover_every_line_exactly_once(mine):
    original = read_original(mine())
    covered = []
    for part in original.parts:
        pieces = [(row.start, row.end) for row in rows(part, original.lines)] if part.method else [(part.start, part.end)]
        covered += [number for start, end in pieces for number in range(start, end + 1)]
    assert covered == list(range(1, len(original.lines) + 1))
    soup = BeautifulSoup(page.render(original, ROOT), "html.parser")
    assert [mark["id"] for mark in soup.select(".no")] == [f"L{number}" for number in covered]
    shown = [line for pre in soup.select("pre") for line in re.sub(r"(?m)^\d+", "", pre.get_text()).split("\n")]
    assert shown == list(original.lines)


def test_each_argument_of_the_constructor_has_its_own_row(mine):
    original = read_original(mine())
    part = next(part for part in original.parts if part.title == "DDPM.__init__")
    found = {name: row.start for row in rows(part, original.lines) for name in row.arguments}
    assert found == {"unet_config": 11, "channels": 12, "my_own_switch": 13}
    labels = {remark.text.split("`")[1]: remark.label for row in rows(part, original.lines) if row.arguments
              for remark in of_row(row, part.method, set())}
    assert labels == {"unet_config": "参数", "channels": "参数", "my_own_switch": UNKNOWN}


def test_statements_that_were_only_seen_are_one_row_without_a_sentence(mine):
    body = "".join(f"        {line}\n" for line in ("y = torch.arange(0, h).view(h, 1, 1).repeat(1, w, 1)", "return arr"))
    original = read_original(mine(f"class LatentDiffusion:\n    def meshgrid(self, h, w):\n{body}"))
    part = next(part for part in original.parts if part.method)
    assert [finding.status for finding in part.findings] == [SEEN, SEEN]
    assert [(row.start, row.end) for row in rows(part, original.lines)] == [(2, 2), (3, 4)]


# ---- 网页与 notebook ----

HOSTILE = 'class DDPM:\n    def forward(self, x):\n        t = "</pre><script>alert(1)</script><img src=http://x.y/z>"\n        y = """\n```\n# 甲\n````\n"""\n'


def test_the_page_asks_nothing_from_outside_and_links_only_to_the_course(mine):
    for text in (MINE, HOSTILE):
        soup = BeautifulSoup(page.render(read_original(mine(text)), ROOT / "build" / "original"), "html.parser")
        assert not soup.find_all(["script", "link", "img", "iframe", "object", "base"]) and not soup.find_all(src=True)
        assert not re.search(r"url\(|@import", "".join(style.get_text() for style in soup.find_all("style")))
        assert not [tag for tag in soup.find_all(True) for name in tag.attrs if name.startswith("on")]
        for a in soup.find_all("a", href=True):
            if a["href"].startswith("#"):
                assert soup.find(id=a["href"][1:])
            else:
                assert re.fullmatch(r"\.\./html/\d\d_\w+\.html(#cell-id=[\w-]+)?", a["href"])


def test_the_notebook_holds_no_code_cell_and_quotes_cannot_be_escaped(mine):
    text = book.render(read_original(mine(HOSTILE)), ROOT / "build" / "original")
    cells = nbformat.reads(text, as_version=4).cells
    nbformat.validate(nbformat.reads(text, as_version=4))
    assert {cell.cell_type for cell in cells} == {"markdown"}
    (cell,) = [cell.source for cell in cells if "forward" in cell.source]
    fence = re.search(r"^(`+)python$", cell, re.M)[1]
    assert len(fence) == 5 and cell.count(f"\n{fence}") == 2
    targets = re.findall(r"\]\(([^)]+)\)", "".join(c.source for c in cells))
    assert targets and all((ROOT / "build" / "original" / target.partition("#")[0]).resolve().exists() for target in targets)


# ---- 不执行，坏的输入 ----


def test_nothing_in_the_file_is_ever_executed_or_imported(mine, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = mine(f"import os\nos.mkdir({str(tmp_path / '执行了')!r})\nraise SystemExit(9)\n{MINE}", "side_effect_at_import.py")
    before = set(sys.modules)
    assert command.main([str(path), "--out", str(tmp_path / "页")]) == 0
    assert not (tmp_path / "执行了").exists() and not [name for name in set(sys.modules) - before if "side_effect" in name]
    assert sorted(p.suffix for p in (tmp_path / "页").iterdir()) == [".html", ".ipynb"] and "DDPM 认得" in capsys.readouterr().out


BAD = {
    "网页.py": (b"<!DOCTYPE html>\n<title>404</title>", "不是能读的 Python 文件"), "空.py": (b" \n", "是空的"),
    "别的.py": (b"x = 1\n", "没有课程讲的类"), "国标.py": ("# 中文注释\nclass DDPM: pass\n".encode("gbk"), "像是 GBK"),
    "乱.py": (b"# \xff\xfd\x81\nx = 1\n", "不知道是什么编码"), "宽.py": ("class DDPM: pass".encode("utf-16"), "UTF-16"),
    "图.py": (b"\x89PNG\r\n\x1a\n\0\0", "二进制"), "编码.py": (b"# coding: rot13\nx = 1\n", "不是 UTF-8"),
    "大.py": (b"#" * (MOST + 1), "太大"), "深.py": (b"x = " + b"-" * 200_000 + b"1\n", "不是能读的 Python 文件|结构太怪"),
    "长链.py": (b"class DDPM:\n    def forward(self):\n        x = a" + b".b" * 20_000 + b"\n", "结构太怪"),
    "坏.yaml": (b"model: [1\n", "不是能读的 YAML"), "别的.yaml": (b"a: 1\n", "没有 model 一段"), "表.yaml": (b"- 1\n", "没有 model 一段"),
    "两份.yaml": (b"model: 1\n---\nmodel: 2\n", "不是能读的 YAML"), "大.yaml": (b"#" * (configuration.MOST + 1), "太大"),
    "深.yaml": (b"model: " + b"[" * 5000, "套得太深|不是能读的 YAML"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_one_chinese_sentence_and_writes_nothing(name, tmp_path, capsys):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    assert command.main([str(tmp_path / name), "--out", str(tmp_path / "页")]) == 2
    error = capsys.readouterr().err.strip()
    assert re.search(message, error) and name in error and "\n" not in error and not (tmp_path / "页").exists()


def test_a_folder_a_missing_file_and_no_file_are_refused_too(tmp_path, capsys):
    for arguments, message in (([str(tmp_path)], "是文件夹"), ([str(tmp_path / "没有.py")], "没有这个文件"), ([], "还缺文件"),
                               (["--download", "sd9"], "--download 应为")):
        assert command.main(arguments) == 2
        error = capsys.readouterr().err.strip()
        assert message in error and "\n" not in error


def test_a_place_that_cannot_be_written_is_named(mine, tmp_path, capsys):
    (tmp_path / "挡路").write_text("")
    assert command.main([str(mine()), "--out", str(tmp_path / "挡路" / "页")]) == 2
    assert "写不进" in capsys.readouterr().err


def test_other_encodings_that_the_file_declares_and_other_line_ends_are_read(tmp_path):
    for number, content in enumerate((b"\xef\xbb\xbf" + MINE.encode(), ("# coding: gbk\n" + MINE).encode("gbk"), MINE.replace("\n", "\r\n").encode())):
        path = tmp_path / f"{number}.py"
        path.write_bytes(content)
        assert read_original(path).counts["DDPM"][TOLD] == 5


# ---- 配置 ----

YAML = """model:
  base_learning_rate: 5e-5
  target: my.module.Thing
  params:
    linear_start: 0.00085
    linear_end: 0.012
    timesteps: 1000
    monitor: val/loss_ema
    use_ema: false
    my_key: 1
    unet_config:
      target: my.UNet
      params: {image_size: 32, context_dim: 768}
data:
  params: {batch_size: 4}
"""


def test_a_configuration_is_explained_key_by_key_where_it_stands(mine):
    read = configuration.read_configuration(mine(YAML, "mine.yaml"))
    found, known = configuration.remarks(read)
    texts = {line: " ".join(remark.text + remark.detail for remark in remarks) for line, remarks in found.items()}
    assert (len(read.keys), known) == (18, 17) and "课程没有讲" in texts[10]
    for line, words in {2: "是字符串，不是数", 6: "√ᾱ = 0.068", 8: "use_ema 是假", 9: "没有 EMA", 13: "没有用到，只作记录", 15: "每张卡一批"}.items():
        assert words in texts[line]
    soup = BeautifulSoup(configuration_page.as_page(read, ROOT / "build" / "original"), "html.parser")
    assert not soup.find_all(["script", "link", "img"]) and len(soup.select(".no")) == len(read.lines)
    nbformat.validate(nbformat.reads(configuration_page.as_notebook(read, ROOT), as_version=4))


def test_a_configuration_that_trains_the_autoencoder_is_known_too(mine):
    text = ("model:\n  target: my.AutoencoderKL\n  params:\n    monitor: val/rec_loss\n    embed_dim: 3\n    lossconfig:\n      target: my.Loss\n"
            "      params: {kl_weight: 0.01, disc_start: 9}\n    ddconfig: {z_channels: 3, ch_mult: [1, 2], my_own: 1}\n")
    found, known = configuration.remarks(configuration.read_configuration(mine(text, "kl.yaml")))
    assert known == 13 and [remark.text for remark in found[9] if remark.label == UNKNOWN] == ["`model.params.ddconfig.my_own`：课程没有讲"]
    assert any(remark.formula == r"\beta" for remark in found[8])
    assert argument("embed_dim") is None


def test_every_line_end_that_yaml_counts_is_counted(mine):
    text = "# a\x85# b\u2028# c\u2029# d\r\n" + YAML
    read = configuration.read_configuration(mine(text, "odd.yaml"))
    plain = configuration.read_configuration(mine(YAML, "plain.yaml"))
    assert [key.line - 4 for key in read.keys] == [key.line for key in plain.keys]
    assert all(key.path[-1] in read.lines[key.line - 1] for key in read.keys)
    assert configuration_page.as_page(read, ROOT)


@pytest.mark.skipif(os.name == "nt", reason="那里的文件名都是 Unicode")
def test_names_that_cannot_be_written_are_changed(tmp_path):
    for name in (os.fsdecode(b"\xd6\xd0.yaml"), "长" * 80 + ".yaml"):
        path = tmp_path / name
        path.write_text(YAML, encoding="utf-8")
        assert command.main([os.fspath(path), "--out", str(tmp_path / "out")]) == 0
    pages = list((tmp_path / "out").iterdir())
    assert len(pages) == 4 and all(page.stat().st_size > 1000 for page in pages)


def test_yaml_builds_no_object_and_survives_anchors_that_explode_or_bite_their_tail(mine, tmp_path):
    bomb = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{p: *a{i - 1}, q: *a{i - 1}}}\n" for i in range(1, 30))
    for extra in (f"evil: !!python/object/apply:os.mkdir [{tmp_path / '执行了'}]\n", bomb, "loop: &loop\n  inner: *loop\n"):
        read = configuration.read_configuration(mine(YAML + extra, "mine.yaml"))
        assert len(read.keys) < 200 and not (tmp_path / "执行了").exists()
    many = "model: {" + ", ".join(f"k{i}: 1" for i in range(configuration.KEYS + 1)) + ", target: x}\n"
    with pytest.raises(Unusable, match="太多"):
        configuration.read_configuration(mine(many, "mine.yaml"))


@pytest.mark.parametrize("end, steps", [("2.0", 1000), ("0.012", 0), ("0.012", "多"), ("1e-9", 1000)])
def test_senseless_schedules_get_no_computed_remark(mine, end, steps):
    read = configuration.read_configuration(mine(YAML.replace("0.012", end).replace("1000", str(steps)), "mine.yaml"))
    assert configuration.amplitude(read) is None and configuration.remarks(read)[1] == 17


def test_our_own_names_for_the_same_settings_are_all_known():
    assert all(setting(["model", "params", name]) for name in (*CARDS, *tables.STABLE2, *tables.LATENT))
    assert setting(["model", "params", "unet_config", "params", "image_size"]).meaning != argument("image_size").meaning
    assert setting(["model", "params", "no_such"]) is None and setting(["other"]) is None


# ---- 知识库 ----

ENTRIES = [(method.name, entry) for method in methods().values() for entry in (method, *method.notes)]


def test_every_formula_becomes_mathml_and_a_strange_one_is_an_error():
    formulas = [entry.formula for _, entry in ENTRIES] + [argument(name).formula for name in CARDS]
    for formula in filter(None, formulas):
        shown = mathml(formula)
        assert "\\" not in re.sub(r">\\<", "", shown) and BeautifulSoup(shown, "html.parser").math
    texts = [text for _, entry in ENTRIES for text in (entry.does, getattr(entry, "wrong", ""), getattr(entry, "differs", ""))]
    for text in [*texts, *(words for name in (*CARDS, *tables.LATENT) for words in (argument(name).meaning, argument(name).wrong))]:
        assert "$" not in page.inline(text) and "`" not in page.inline(text), text
    for bad in (r"\unknown", "x_", r"\frac{1", "{"):
        with pytest.raises((ValueError, IndexError)):
            mathml(bad)
    assert mathml("a<b_1^2") == "<math><mrow><mi>a</mi><mo>&lt;</mo><msubsup><mi>b</mi><mn>1</mn><mn>2</mn></msubsup></mrow></math>"


def test_every_link_into_the_course_finds_its_cell():
    places = {entry.proof for _, entry in ENTRIES if entry.proof}
    assert len(places) > 30
    lost = [place for place in sorted(places) if cell_holding(*place) is None]
    assert not lost, f"章节里没有这几处了，改 ddpm_edu/original/tables：{lost}"
    tabled = {one.chapter for table in vars(tables).values() if isinstance(table, dict) for one in table.values() if isinstance(one, tables.Setting)}
    assert all(chapter_source(chapter) for chapter in tabled | {entry.chapter for _, entry in ENTRIES if entry.chapter})
    assert address(ROOT / "build" / "original", 9, "毛病一").startswith("../html/09_init.html#cell-id=")


def test_notes_are_well_formed_and_say_each_thing_once():
    for name, entry in ENTRIES:
        said = [entry.does, *(getattr(entry, field, "") for field in ("wrong", "differs"))]
        assert entry.does and not any(text.endswith("。") or text.isascii() and len(text) > 8 for text in said if text), (name, entry)
        digests = getattr(entry, "forms", "") or f"{entry.heads} {entry.known}".strip()
        assert re.fullmatch(r"[0-9a-f]{8}( [0-9a-f]{8})*", digests), (name, entry)
        assert not (getattr(entry, "wrong", "") and getattr(entry, "differs", ""))
        assert all(needed in methods() for needed in getattr(entry, "needs", "").split())
    faults = [entry.wrong for _, entry in ENTRIES if getattr(entry, "wrong", "") and len(entry.wrong) > 25]
    again = {text for text in faults if faults.count(text) > 1}
    assert len(again) <= 2, again


def test_the_knowledge_and_the_map_of_chapter_17_name_the_same_methods():
    ours = {name.partition(".")[2] for name in methods() if name.startswith("DDPM.")}
    assert ours == {row.theirs for row in BASE} and all(f"LatentDiffusion.{row.theirs}" in methods() for row in LATENT)
    assert counterpart("DDPM.q_sample").note == "相同" and counterpart("LitEma.forward") is None
    only = {row.theirs for row in BASE if row.only}
    assert only == {name.partition(".")[2] for name, method in methods().items() if name.startswith("DDPM.") and method.only}


# ---- 下载与命令 ----


def test_a_copy_is_fetched_through_mirrors_checked_and_explained(server, tmp_path, monkeypatch, capsys):
    content = MINE.encode()
    server.files["ddpm.py"] = content
    file = RemoteFile("ddpm.py", hashlib.sha256(content).hexdigest(), len(content))
    monkeypatch.setitem(fetch.SOURCES, "ldm", fetch.Source("测试", "a/b", "c", (("ldm", file),)))
    assert fetch.download("ldm", tmp_path, (server.url("404"), server.url("truncated"), server.url("ok")), progress=False) == [tmp_path / "ldm" / "ddpm.py"]
    monkeypatch.setattr(command, "download", lambda name: fetch.download(name, tmp_path, (server.url("wrong"),), progress=False))
    assert command.main(["--download", "ldm", "--out", str(tmp_path / "页")]) == 0 and "DDPM 认得" in capsys.readouterr().out
    (tmp_path / "ldm" / "ddpm.py").unlink()
    assert command.main(["--download", "ldm", "--out", str(tmp_path / "页")]) == 2 and "SHA-256" in capsys.readouterr().err
    with pytest.raises(DataUnavailableError):
        fetch.download("ldm", tmp_path, (server.url("html"),), progress=False)


def test_addresses_are_pinned_to_a_commit_and_digests_are_whole():
    for source in fetch.SOURCES.values():
        assert re.fullmatch(r"[0-9a-f]{40}", source.commit) and re.fullmatch(r"[\w-]+/[\w-]+", source.repository)
        assert all(re.fullmatch(r"[0-9a-f]{64}", file.sha256) and 1000 < file.size < MOST for _, file in source.files)
    assert all(mirror.startswith("https://") and "{commit}" in mirror for mirror in fetch.MIRRORS)


def test_course_passes_files_and_folders_as_whole_paths(mine, tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("course_for_original", ROOT / "course.py")
    course = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(course)
    mine()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(course, "ensure_environment", lambda: None)
    seen = []
    monkeypatch.setattr(course, "run", lambda *command, **kwargs: seen.append(command))
    course.original(["ddpm.py", "--out", "页", "--download", "ldm"])
    assert seen[0][1:] == ("-m", "ddpm_edu.original", str(tmp_path / "ddpm.py"), "--out", str(tmp_path / "页"), "--download", "ldm")
    assert "original" in course.__doc__
