"""承诺的表与测试里的标记对得上"""
from pathlib import Path

import pytest

from .promises import PROMISES, rows_in_readme


@pytest.fixture
def rows(request):
    if request.config.getoption("full"):
        pytest.skip("跑完就重写这张表")
    return rows_in_readme()


def test_every_marked_test_has_its_row_in_the_table(request, rows):
    """只跑一部分测试时，只看这一部分；表里多出来的行，跑全部时才看得出"""
    found = {(PROMISES[mark.args[0]], mark.args[1]) for item in request.session.items for mark in item.iter_markers("promise")}
    assert found <= rows, f"表里没有：{sorted(found - rows)}；运行 python course.py test --full tests 更新"
    everything = {item.path for item in request.session.items} == set(Path(__file__).parent.glob("test_*.py"))
    if everything and not request.config.getoption("keyword") and not request.config.getoption("markexpr"):
        assert found == rows, f"表里多出：{sorted(rows - found)}"


def test_every_promise_is_kept_by_some_test(rows):
    assert {title for title, _ in rows} == set(PROMISES.values())
