"""pytest --nbval 的设置：慢机器上冒出来的进度条不算输出"""
import os

os.environ["TQDM_DISABLE"] = "1"
