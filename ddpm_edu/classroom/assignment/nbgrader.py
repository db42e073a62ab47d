"""nbgrader 的作业：source/<作业>/<作业>.ipynb，答案圈在 BEGIN SOLUTION 里，测试格锁住、有分，小实验由人来评"""
from .notebook import answer, new_cell, new_notebook, opening, statement
from .questions import LAB, questions

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
TEST = """from ddpm_edu.classroom.assignment.answers import assert_correct

assert_correct("{number}", {variable})"""
CONFIG = """c = get_config()
# 圈住的答案换成什么：与课程的学生版相同
c.ClearSolutions.code_stub = {"python": "...  # 在这里写"}
c.ClearSolutions.text_stub = "在这里写三句话。"
# 第一格要导入 PyTorch，忙着的机器上默认的 30 秒有时不够
c.ExecutePreprocessor.timeout = 300
"""


def notebook(path):
    """源文件 → 教师的那一份，由 nbgrader generate_assignment 变成学生的"""
    preface, prepare = opening(path)
    cells = [preface, with_role(prepare, "setup", locked=True)]
    for question in questions(path):
        cells += statement(question)
        written = answer(question, BEGIN, END)
        if question.number == LAB:
            cells.append(with_role(written, question.name, grade=True, solution=True, points=question.points))
            continue
        test = new_cell("code", TEST.format(number=question.number, variable=question.variable), f"{question.name}-test", role="made")
        cells += [with_role(written, f"{question.name}-answer", solution=True),
                  with_role(test, question.name, grade=True, locked=True, points=question.points)]
    return new_notebook(path, "nbgrader", cells)


def with_role(cell, grade_id, **settings):
    """nbgrader 的记号；checksum 由它自己算"""
    cell.metadata["nbgrader"] = {"schema_version": 3, "grade_id": grade_id, "grade": False, "solution": False, "locked": False, "task": False, **settings}
    return cell


def place(out, name):
    """作业放在课程文件夹 out 的哪里"""
    return out / "source" / name / f"{name}.ipynb"


def settings(out):
    """{文件: 内容}：课程文件夹还没有设置时，写一份"""
    file = out / "nbgrader_config.py"
    return {} if file.exists() else {file: CONFIG}
