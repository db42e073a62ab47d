"""故意写错的变体：表与源文件对得上；--full 时真的逐个跑"""
import ast
import re

import pytest

from .mutants import MUTANTS
from .mutations import ROOT, mutated
from .program import run


def test_the_table_is_large_enough_and_without_repetition():
    assert len(MUTANTS) >= 100 and len({m[:3] for m in MUTANTS}) == len({m.why for m in MUTANTS}) == len(MUTANTS)


def test_every_mutant_changes_one_place_and_still_compiles():
    original = {name: ast.dump(ast.parse((ROOT / "ddpm_edu" / name).read_text(encoding="utf-8"))) for name in {m.file for m in MUTANTS}}
    for mutant in MUTANTS:
        assert ast.dump(ast.parse(mutated(mutant))) != original[mutant.file], mutant.why
        for file, _, function in (name.partition("::") for name in mutant.tests.split()):
            assert f"def {function}" in (ROOT / "tests" / file).read_text(encoding="utf-8"), mutant.why


def test_a_place_that_moved_is_reported():
    for old in ("没有这一句", "return"):
        with pytest.raises(ValueError, match="schedules.py 里应恰好有一处.*linear 忘了平方"):
            mutated(MUTANTS[0]._replace(old=old))


def check(*arguments):
    done = run("tests.mutations", *arguments, cwd=ROOT)
    return done.returncode, done.stdout + done.stderr


def test_an_unknown_word_is_an_error_and_help_is_chinese():
    code, text = check("没有这种变体")
    assert code == 2 and "没有这种变体" in text


def test_every_mutant_is_caught(amount, tally):
    """平时只跑一个，证明脚本能用"""
    code, text = check("-j", "2", *amount(["换成了 √β"], []))
    (caught, total), = re.findall(r"抓住 (\d+)/(\d+)", text) or [(0, 0)]
    assert code == 0 and int(total) == amount(1, len(MUTANTS)), text
    tally(int(caught), int(total))
