"""第 16 章的那一层：猎场要用随包的模型，先在看管的进程里把 Lightning 与它们装好，各题就不必各装一遍；别的与 answers.py 相同"""
from ..pretrained import load_pretrained  # noqa: F401
from ..teach.bugs import hunts  # noqa: F401
from .answers import answer  # noqa: F401
