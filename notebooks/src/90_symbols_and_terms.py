# %% [markdown]
# # 90 · 符号表与术语表
#
# **学习目标**
#
# - 查得到每个符号在代码里叫什么，每个术语的英文是什么。
#
# **预计用时** 随用随查。
#
# 全部章节的文字都受这两张表约束：自动测试会检查正文公式和参数卡片里的每个字母是否列在表中，术语在讲解它的那一章里第一次出现时是否带了英文，有没有混进别的译法。

# %%
from ddpm_edu import DDPM
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.teach import check
from ddpm_edu.teach.terms import SYMBOLS
from ddpm_edu.teach.tables import symbol_table, term_table

model = DDPM(**toy_model_config())
print("准备好了")

# %% [markdown]
# ## 符号表
#
# 同一个字母有时有两个意思，表里都写了，看上下文分辨。

# %%
symbol_table()

# %% [markdown]
# 下面核对：每一张系数表都在符号表里，一张不漏。

# %%
tables = {name for name, buffer in model.named_buffers() if buffer.shape == (model.num_timesteps,)}
listed = {symbol.code for symbol in SYMBOLS}
check("每张系数表都有符号", tables <= listed, True)

# %% [markdown]
# ## 术语表

# %%
term_table()

# %% [markdown]
# ## 小结
#
# - 名字先用参考实现的，其次用论文的，不自己发明。
# - 代码的 $t$ 从 0 数起，论文的从 1 数起。
#
# ## 练习
#
# 1. ★ 打开一篇扩散模型的论文，把它的符号对到这张表上。哪些同名不同义？
