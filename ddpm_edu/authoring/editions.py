"""同一份源文件的两个版本：学生版把答案换成 ...，不写小实验的参考答案；答案版留着它们，并填上思考题的答案"""
import json
import re

from ..teach.exercises import find

# 单独成行的“# 答案”与“# 答案完”，缩进相同
ANSWER = re.compile(r"^( *)# 答案\n(.*?)^\1# 答案完$", re.M | re.S)
# 文字里小实验的参考答案，独占几行
REFERENCE = re.compile(r"^<!-- 参考答案 -->\n.*?^<!-- 参考答案完 -->$\n?", re.M | re.S)
QUESTION = re.compile(r'^grade\("(\d\d\.\d+)", None\).*$', re.M)
BLANK = "...  # 在这里写"


def student_edition(text):
    """答案换成一行 ...，缩进不变；参考答案整段不要"""
    return REFERENCE.sub("", ANSWER.sub(lambda match: match[1] + BLANK, text))


def solutions_edition(text):
    """去掉标记，留下答案；思考题的 None 换成答案"""
    text = ANSWER.sub(lambda match: match[2].rstrip("\n"), text)
    return QUESTION.sub(lambda match: f'grade("{match[1]}", {json.dumps(find(match[1]).answer)})', text)
