"""对照表：我们这边的名字都真实存在，原文件的公开方法一个不漏"""
import pytest

from ddpm_edu import DDPM
from ddpm_edu.original.counterparts import BASE, LATENT, Row
from ddpm_edu.original.knowledge import methods
from ddpm_edu.teach import reference_map
from ddpm_edu.teach.reference_map import TABLES, ReferenceMap

# 参考实现的基类里的方法；与 v 有关的三个是 Stable Diffusion 2 加的
METHODS = """__init__ register_schedule ema_scope init_from_ckpt q_mean_variance predict_start_from_noise predict_start_from_z_and_v
    predict_eps_from_z_and_v q_posterior p_mean_variance p_sample p_sample_loop sample q_sample get_v get_loss p_losses forward get_input
    shared_step training_step validation_step on_train_batch_end _get_rows_from_list log_images configure_optimizers""".split()


@pytest.mark.parametrize("name", TABLES)
def test_every_name_on_our_side_exists_and_most_have_a_chapter(name):
    table = ReferenceMap(TABLES[name])
    found = [chapter for chapter, row in zip(table.chapter, table.rows) if row.ours]
    assert found.count(None) <= 3 and len({row.theirs for row in table.rows}) == len(table.rows)


def test_the_base_table_names_every_method_of_the_reference_once():
    assert sorted(row.theirs for row in BASE) == sorted(METHODS)
    assert {row.theirs for row in BASE if row.only == "SD 2"} == {"get_v", "predict_start_from_z_and_v", "predict_eps_from_z_and_v"}


def test_methods_with_the_same_name_are_the_ones_our_class_really_calls():
    for row in BASE:
        if row.theirs not in ("on_train_batch_end", "_get_rows_from_list"):
            assert getattr(DDPM, row.theirs) is reference_map.resolve(row.ours[0]), row.theirs


@pytest.mark.parametrize("path", ["ddpm.DDPM.p_loss", "没有.这个", "gaussian.nothing"])
def test_a_name_that_does_not_exist_is_an_error(path):
    with pytest.raises((LookupError, AttributeError)):
        ReferenceMap((Row("x", (path,), ""),))


def test_the_table_shows_our_names_their_chapters_and_what_is_absent():
    shown = reference_map.reference_map("latent")._repr_mimebundle_()["text/markdown"]
    assert "| `p_losses` | `DDPM.p_losses` | 06 |" in shown and "| `make_cond_schedule` | 没有 | — |" in shown
    assert "`get_unconditional_conditioning`（SD 2） | `null_condition` |" in shown and "`LatentDiffusion.train`" in shown
    table = [line for line in shown.splitlines() if line.startswith("|")]
    assert all(line.count("|") == 5 for line in table) and len(table) == len(LATENT) + 2
    assert shown.startswith(f"<details><summary>LatentDiffusion 的主要方法（“没有”的，程序包里没有），{len(LATENT)} 行</summary>\n\n|")
    assert shown.endswith("|\n\n</details>") and "<details>" not in ReferenceMap(LATENT)._repr_mimebundle_()["text/markdown"]


def test_the_statement_table_says_what_the_knowledge_base_says_in_the_original_order():
    notes = [note for note in methods()["DDPM.__init__"].notes if not note.signature.startswith("if ")]
    lines = reference_map.statement_table("DDPM.__init__")._repr_mimebundle_()["text/markdown"].splitlines()[2:]
    assert len(lines) == len(notes) and all(line.startswith(f"| {number} |") for number, line in enumerate(lines, 1))
    for note, line in zip(notes, lines):
        assert note.does in line and (note.wrong or note.differs) in line and ("**错**" in line) == bool(note.wrong)
    assert "| `call" not in "".join(lines) and "| `print`（SD 2）" in "".join(lines)


def test_a_folded_statement_table_keeps_every_row_and_counts_the_wrong_ones():
    whole = reference_map.statement_table("DDPM.__init__").rows(1, 99)
    folded = reference_map.statement_table("DDPM.__init__", {1: "甲", 12: "乙"})._repr_mimebundle_()["text/markdown"]
    rows = [line for line in folded.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert rows == [line for line in whole.splitlines() if line[2].isdigit()] and folded.count("<details>") == 2
    wrong = sum("**错**" in line for line in rows[:11])
    assert wrong and f"第 1 到 11 条　甲（{wrong} 条有错）" in folded
