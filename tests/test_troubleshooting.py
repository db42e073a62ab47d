"""排障手册：索引表与各节一一对应；每一条都有问、原因、办法、出处，和一格真的会失败的代码"""
import re

from ddpm_edu.authoring.build import sources
from ddpm_edu.authoring.coverage import CHECKS, read_cells
from ddpm_edu.teach.explained import calls

BOOK = next(path for path in sources() if path.stem.startswith("91_"))


def sections():
    """{标题: 单元的列表}，只要索引表之后、“还是不行”之前的各条"""
    found, current = {}, None
    for cell in read_cells(BOOK):
        if not cell.code and (heading := re.match(r"## (.+)", cell.text)):
            current = found.setdefault(heading[1], [])
        if current is not None:
            current.append(cell)
    return dict(list(found.items())[:list(found).index("还是不行")])


def test_the_index_links_to_every_section_in_order():
    # JupyterLab 的锚点：标题里的空格换成连字符
    index = re.findall(r"^\| \S+ \| \[(.+?)\]\(#(.+?)\)", read_cells(BOOK)[0].text, re.M)
    assert [title for title, _ in index] == list(sections()) and len(index) >= 20
    assert all(anchor == title.replace(" ", "-") for title, anchor in index)


def test_every_entry_has_a_question_a_cause_a_cure_and_a_source():
    for title, cells in sections().items():
        text = cells[0].text
        assert "**原因**" in text and "**办法**" in text, title
        asked = re.search(r"\*\*问\*\*.+\[#(\d+)\]\(https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\1\)", text, re.S)
        assert asked or "常被问到" in text, title


def test_every_entry_is_reproduced_and_cured_by_code_that_can_fail():
    for title, cells in sections().items():
        code = [cell for cell in cells if cell.code and "NBVAL_IGNORE_OUTPUT" not in cell.text]
        assert any(calls(cell, name) for cell in code for name in CHECKS), title
