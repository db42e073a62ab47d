# %% [markdown]
# # 92 · 给教师：一页
#
# **学习目标**
#
# - 排得出一门 12 次课的课：每次讲什么，略过什么，学生会在哪里答错，拿什么来讨论。
# - 会收作业、重判、出大作业，会拿到带答案的版本与幻灯片。
#
# **预计用时** 15 分钟。运行全部单元约 5 秒。

# %%
from ddpm_edu.authoring.syllabus import discussion, syllabus, taught
from ddpm_edu.teach import check

print("准备好了")

# %% [markdown]
# ## 课表：12 × 90 分钟
#
# 学生要学过 PyTorch：会写 `nn.Module` 与训练循环。概率论用到高斯分布、条件概率与 KL 散度。
# 学生课前读那几章，课上推导、拖面板、改代码，最后十分钟做一道 ★ 的题。前七次讲原理，接着两次读源码，末三次做实验。

# %%
syllabus()

# %%
check("00–19 都在课表里", sorted(taught()), [*range(20)])

# %% [markdown]
# ## 预料中的错，与讨论题
#
# 每一个错答案后面是批改给学生的那句提示，可以照着讲。编程题的错各有各的提示，学生自己会看到，不列在这里。

# %%
discussion()

# %% [markdown]
# ## 收作业，给成绩
#
# | 要做什么 | 命令 |
# |:--|:--|
# | 带答案的版本，小实验的参考答案也在里面 | `python course.py build --solutions`，后面可写章号 |
# | 重判：只看交来的 notebook，逐题再判一遍，写出一张表与一页网页 | `python course.py regrade 文件夹` |
# | 换成 nbgrader 或 otter-grader 的作业，再收回来 | `python course.py assignment 04 --format nbgrader` |
# | 大作业：噪声表、损失、采样器由学生写，按调用网络 1、2、4、8 次打分 | `python course.py project start digits`、`grade`、`leaderboard` |
# | 幻灯片，一格一页，能打印 | `python course.py slides 04` |
# | 网页书与 PDF，不开内核也能读 | `python course.py export --pdf` |
#
# 学生机器上的 `grade` 只给学生自己看：记录与题目的答案都在他手里，改得动。成绩以 `regrade` 为准，它在隔离的进程里重新运行学生写的函数，交来的输出与记录都不算数。
# 每章末尾的小实验不批改，适合当课后作业或讨论。各条命令的细节、防得住什么、防不住什么，见仓库里的 `docs/teaching.md`。
#
# ## 上课之前
#
# - 在教室的机器上运行一遍 `python course.py lab`，第一次要下载依赖（装好共占约 1.7 GB）；出了问题运行 `python course.py doctor`。机房没有外网时，先在一台上装好 `.venv` 再整个复制（路径要相同）。
# - 没有 GPU 也能上完全部课：00 与 13 各在笔记本上练一分多钟的小样，14 不训练，用随课程发布的模型。
# - 00 与 13 用真的 MNIST 更好看：把四个文件（共 12 MB）先放进课程文件夹的 `data/mnist/`，学生就不用各自下载；没有也能上，会用内置的数字代替。
# - 学生卡住时，先查 91 的排障手册。
#
# ## 许可、引用与提问
#
# - 代码、文字与图都是 MIT 许可：可以改、可以讲、可以印成讲义，留着许可证里的版权声明就行。图里的字体与 MNIST 等数据各有自己的许可，见 README 的末尾。
# - 引用用仓库里的 `CITATION.cff`，GitHub 页面右侧的 “Cite this repository” 就是从它来的。
# - 哪里讲错了、哪道题的提示不对，在仓库的 Issues 里选“勘误”；想加一道题、一章，先读 `CONTRIBUTING.md`。
#
# ## 小结
#
# - 课表、错答案、命令都在这一页；用时与提示从课程里读出来，不会过时。
# - 成绩看 `regrade`，不看学生自己的记录。
#
# ## 练习
#
# 1. ★ 把课表改成 4 次、每次 3 小时：哪些章可以合并，哪些推导可以留给学生课前自己读？
