# %% [markdown]
# # 92 · 给教师：课表、答案、进度、幻灯片
#
# **学习目标**
#
# - 排得出一门 12 次课的课，知道每次讲什么、略过什么。
# - 会拿到带答案的版本，收学生的进度，把一章变成幻灯片。
#
# **预计用时** 15 分钟。运行全部单元约 10 秒。

# %%
import json
import tempfile
from pathlib import Path

from ddpm_edu.teach import check
from ddpm_edu.authoring.collect import collect
from ddpm_edu.authoring.syllabus import exercise_table, goal_table, syllabus, taught

print("准备好了")

# %% [markdown]
# ## 课表：12 × 90 分钟
#
# 学生要学过 PyTorch：会写 `nn.Module` 与训练循环。概率论用到高斯分布、条件概率与 KL 散度。
# 学生课前把那几章读一遍（要多久，由各章开头写的时间相加），课上推导、拖面板、改代码，最后十分钟做一道 ★ 的题。

# %%
syllabus()

# %% [markdown]
# 前七次讲原理，接着两次读源码，末三次做实验；习题做课上那几章的。90 到 92 是备查的，其余各章都排到了。

# %%
check("00–19 都在课表里", sorted(taught()), [*range(20)])

# %% [markdown]
# ## 各章的学习目标
#
# 这张表从各章开头读出来，章里改了，这里跟着变。

# %%
goal_table()

# %% [markdown]
# ## 习题与答案
#
# 00–19 的习题都由 `grade` 当场批改（91、92 的是思考题），典型的错各有各的提示，学生不必等。
# 带答案的版本由同一份源文件生成：
#
# ```bash
# python course.py build --solutions       # 全部，放在 notebooks/solutions/
# python course.py build --solutions 04    # 只要一章
# ```

# %%
exercise_table()

# %% [markdown]
# “认得的错”是批改能单独指出的错法有几种；别的错也判得出，只是提示笼统些。
# 自动测试保证：每道题的答案得 ✓，每种典型的错得到它自己的那一句提示。
#
# 每章（找 bug 的一章除外，它的三个猎场就是）末尾还有一个小实验：改一处，量一量，写三句话。它不批改，适合当作业或课上讨论；量好的参考答案与重量一遍的程序，只在带答案的版本里。

# %% [markdown]
# ## 收进度
#
# 批改的结果记在学生自己的机器上，没有服务器。在 00 里运行 `progress()`，会写明记录在哪里；学生交那一个文件。
# 收来的文件放进一个文件夹，改名为学号，然后
#
# ```bash
# python -m ddpm_edu.authoring.collect 文件夹    # 写出 文件夹/progress.csv
# ```
#
# 下面用两份假的记录走一遍。

# %%
with tempfile.TemporaryDirectory() as folder:
    for name, mark in (("001", "✓"), ("002", "✗")):
        record = {"exercises": {"03.1": {"mark": mark, "tries": 2, "time": "2026-01-01T08:00:00+08:00"}}}
        (Path(folder) / f"{name}.json").write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
    head, *rows = collect(folder)
print([row[:3] for row in rows])
check("每人做对几题、试过几次", [row[1:3] for row in rows], [[1, 2], [0, 2]])

# %% [markdown]
# 记录是普通的 JSON，学生改得动；它适合看全班卡在哪里，不适合直接当成绩。

# %% [markdown]
# ## 幻灯片
#
# ```bash
# python course.py slides 04               # 写出 build/slides/04_posterior.html
# ```
#
# 一段文字和它后面的代码、图是一页，用空格或 PageDown 翻；不联网也能放，打印成 PDF 也是一页一张。习题不在幻灯片里。

# %% [markdown]
# ## 上课之前
#
# - 在教室的机器上运行一遍 `python course.py lab`，第一次要下载依赖（装好共占约 1.7 GB）；机房没有外网时，先在一台上装好 `.venv` 再整个复制（路径要相同）。
# - 没有 GPU 也能上完全部课：00 与 13 各在笔记本上练一分多钟的小样，14 不训练，用随课程发布的模型。
# - 00 与 13 用真的 MNIST 更好看：把四个文件（共 12 MB）先放进课程文件夹的 `data/mnist/`，学生就不用各自下载；没有也能上，会用内置的数字代替。
# - 学生卡住时，先查 91 的排障手册。
#
# ## 小结
#
# - 课表手写，其余的表都从课程里读出来。
# - 答案版、进度表、幻灯片各是一条命令。
#
# ## 练习
#
# 1. ★ 把课表改成 4 次、每次 3 小时：哪些章可以合并，哪些推导可以留给学生课前自己读？
