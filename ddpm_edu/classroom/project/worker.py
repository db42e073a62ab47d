"""隔离的进程里运行的：装上学生的代码，照收到的回答重放采样，问到还没有回答的一次就停；算分的东西一样也不在这里"""
import builtins
import os
import sys
import sysconfig
import types
import typing
from pathlib import Path

import torch

from .rules import FORBIDDEN, MODULES, bare, parsed
from .tasks import task_named
from .training import Trainer

BLOCKED = set(FORBIDDEN) - {"__import__", "compile"}


class Unanswered(BaseException):
    """问到了还没有回答的一次"""


def watch_doors():
    """从此打开文件只许读 Python 自己的代码；返回记下违规的列表，学生的 try 也吞不掉它"""
    places = *sysconfig.get_paths().values(), sys.base_prefix, *torch.__path__, Path(__file__).parents[2]
    roots = tuple({os.path.realpath(path) for path in places})
    found, realpath, fsdecode = [], os.path.realpath, os.fsdecode

    def hook(event, args):
        if event == "open" and args[0] is not None and not isinstance(args[0], int):
            path = realpath(fsdecode(args[0]))
            if not (path.startswith(roots) and path.endswith((".py", ".pyc", ".so", ".pyd", ".dll"))):
                found.append(f"打开文件 {os.path.basename(path)[:60]}")
                raise PermissionError(found[-1])
        elif event == "import" and args[0].partition(".")[0] in ("ddpm_edu", "sklearn", "safetensors", "torchvision"):
            found.append(f"导入 {args[0][:60]}")
            raise ImportError(found[-1])

    typing.ForwardRef._evaluate = no_evaluation
    sys.addaudithook(hook)
    return found


def no_evaluation(*args, **kwargs):
    raise PermissionError("类型标注里的文字不许当成代码算")


def solution(source):
    """学生的模块；只给许可的内置函数与模块，类型标注不执行"""
    module = types.ModuleType("solution")
    allowed = {name: value for name, value in vars(builtins).items() if name not in BLOCKED}
    allowed["__import__"] = guarded_import
    module.__dict__["__builtins__"] = allowed
    exec(compile(bare(parsed(source)), "solution.py", "exec"), module.__dict__)
    return module


def guarded_import(name, globals=None, locals=None, fromlist=(), level=0):
    if level or name.partition(".")[0] not in MODULES:
        raise ImportError(f"不许导入 {name}")
    return builtins.__import__(name, globals, locals, fromlist, level)


class Asking:
    """学生手里的 network：自己不会算，照次序给出已有的回答，没有的记下来"""

    def __init__(self, answers):
        self.answers, self.asked, self.pending = answers, [], None

    def __call__(self, x, timesteps):
        if self.pending is not None:
            raise Unanswered
        question = plain_tensor("x", x), plain_tensor("t", timesteps)
        if len(self.asked) < len(self.answers):
            self.asked.append(mark(question))
            return self.answers[len(self.asked) - 1].clone()
        self.pending = question
        raise Unanswered


def mark(question):
    """一次提问的摘要：重放时核对"""
    return [float(part.double().sum()) for part in question]


def plain_tensor(name, value):
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"network 的 {name} 应是张量，得到 {type(value).__name__}")
    return value.detach().to("cpu").clone().contiguous()


def table(job):
    """{"source", "timesteps"} → {"betas"：噪声表，或 "error", "refused"}"""
    refused = watch_doors()
    try:
        return {"betas": torch.as_tensor(solution(job["source"]).betas(job["timesteps"])).detach().double().clone(), "refused": refused}
    except Exception as error:
        return {"error": described(error), "refused": refused}


def train(job):
    """{"source", "task", "images": uint8, "seed", "limit"} → {"weights"：从头练出来的，或 "error", "refused"}"""
    torch.set_num_threads(1)
    images = job["images"].float() / 127.5 - 1
    refused = watch_doors()
    try:
        trainer = Trainer(task_named(job["task"]), solution(job["source"]).loss, images, job["seed"], job["limit"])
        trainer.run()
        return {"weights": trainer.weights(), "refused": refused}
    except Exception as error:
        return {"error": described(error), "refused": refused}


def replay(job):
    """{"source", "lanes": [{"seed", "shape", "calls", "answers"}]} → {"lanes": 每条一份, "refused": 被拒绝的几件事}

    一份是 {"asked": 各次提问的摘要}，再加 "question" 或 "samples" 或 "error"
    """
    torch.set_num_threads(1)
    refused = watch_doors()
    try:
        module = solution(job["source"])
    except Exception as error:
        return {"lanes": [{"asked": [], "error": described(error)} for _ in job["lanes"]], "refused": refused}
    return {"lanes": [one_lane(module, lane) for lane in job["lanes"]], "refused": refused}


def one_lane(module, lane):
    network, found = Asking(lane["answers"]), {}
    # 忘了用 generator 的，也由种子定
    torch.manual_seed(lane["seed"])
    try:
        with torch.no_grad():
            drawn = module.sample(network, tuple(lane["shape"]), lane["calls"], torch.Generator().manual_seed(lane["seed"]))
        if not isinstance(drawn, torch.Tensor):
            raise TypeError(f"sample 应返回张量，得到 {type(drawn).__name__}")
        found = {"samples": drawn.detach().to("cpu").clone().contiguous()}
    except Unanswered:
        pass
    except Exception as error:
        found = {"error": described(error)}
    if network.pending is not None:
        found = {"question": list(network.pending), "mark": mark(network.pending)}
    return {"asked": network.asked, **found}


def described(error):
    """一句话：什么错，在 solution.py 第几行"""
    lines, trace = [], error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "solution.py":
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    where = f"solution.py 第 {lines[-1]} 行出错" if lines else "运行 solution.py 时出错"
    said = " ".join(str(error).split())[:200]
    return f"{where}，Python 的原话是：{type(error).__name__}: {said}" if said.isascii() else f"{where}：{said}"
