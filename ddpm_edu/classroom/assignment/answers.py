"""作业里的测试格：做对了什么也不做，做错了抛 AssertionError，话就是课程的批改给学生的那一句"""
from ...teach.grading import judge

UNDONE = "还没有做，或者刚才没有运行答案那一格"


def assert_correct(number, answer):
    """核对第 number 题的答案；怎样写 answer 同 teach.grade，不显示，也不记进度

    异常 : 没有做对时 AssertionError，第一行是题号与标题，下面是提示
    """
    verdict = judge(number, answer)
    if verdict.mark != "✓":
        raise AssertionError("\n".join([f"{verdict.mark} {verdict.name}", verdict.text or UNDONE]))
