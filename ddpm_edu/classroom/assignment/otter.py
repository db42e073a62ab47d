"""otter-grader 的作业：otter assign 读的 notebook，题目夹在 BEGIN QUESTION 与 END QUESTION 两格之间"""
from .notebook import answer, new_cell, new_notebook, opening, statement
from .questions import LAB, questions

BEGIN, END = "# BEGIN SOLUTION", "# END SOLUTION"
CONFIG = """# ASSIGNMENT CONFIG
name: "{name}"
export_cell:
    pdf: false
tests:
    ok_format: false"""
QUESTION = """# BEGIN QUESTION
name: {name}
points: {points}"""
TEST = '''def test_{name}({variable}):
    from ddpm_edu.classroom.assignment.answers import assert_correct

    assert_correct("{number}", {variable})'''


def notebook(path):
    """源文件 → 教师的那一份，由 otter assign 变成学生的与批改用的"""
    cells = [raw(CONFIG.format(name=path.stem), "config"), *opening(path)]
    for question in questions(path):
        cells += written_question(question)
    return new_notebook(path, "otter", cells)


def written_question(question):
    lab, name = question.number == LAB, question.name
    opened = QUESTION.format(name=name, points=question.points) + ("\nmanual: true" if lab else "")
    yield raw(opened, f"{name}-begin")
    yield from statement(question)
    yield raw(BEGIN, f"{name}-begin-solution")
    # 小实验的参考答案整格不给学生，otter 换成一格空的
    yield answer(question, BEGIN if lab or question.is_code else f"{BEGIN} NO PROMPT", END)
    yield raw(END, f"{name}-end-solution")
    if not lab:
        test = TEST.format(name=name, variable=question.variable, number=question.number)
        yield raw("# BEGIN TESTS", f"{name}-begin-tests")
        yield new_cell("code", test, f"{name}-test", role="made")
        yield raw("# END TESTS", f"{name}-end-tests")
    yield raw("# END QUESTION", f"{name}-end")


def raw(text, name):
    return new_cell("raw", text, name, role="made")


def place(out, name):
    """作业放在 out 的哪里：otter assign 的结果写在它旁边，所以各占一个文件夹"""
    return out / name / f"{name}.ipynb"


def settings(out):
    """另外要写的文件：没有，设置在 notebook 的第一格"""
    return {}
