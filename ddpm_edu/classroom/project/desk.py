"""学生这边的两件事：备好文件夹，训练"""
import contextlib
import secrets
from importlib.resources import files
from pathlib import Path

from ...checks import fail
from ...files.checkpoint import atomic_folder
from . import worker
from .rules import SOLUTION, check_source, training_code
from .submission import read_text
from .tasks import TASKS, TIMESTEPS, check_table, pictures, task_named
from .training import STATE, WEIGHTS, Trainer

TEMPLATE = files(__package__) / "template"
NOTE = "task.txt"


def start(name, folder):
    """写学生的文件夹；异常 : 已有东西时 ValueError，什么也不动"""
    task = task_named(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        fail("文件夹", "还没有的，或者空的", str(folder), "换一个名字")
    told = (TEMPLATE / "README.txt").read_text(encoding="utf-8").format(
        title=task.title, folder=folder.name, minutes=task.limit // 60, count=task.count)
    with atomic_folder(folder) as made:
        (made / SOLUTION).write_text((TEMPLATE / "solution.txt").read_text(encoding="utf-8"), encoding="utf-8")
        (made / "README.md").write_text(told, encoding="utf-8")
        (made / NOTE).write_text(f"{name}\n", encoding="utf-8")
    return task


def task_of(folder):
    """这个文件夹是哪一种大作业：start 写下的，没有时看权重文件；都没有时 None"""
    from .submission import LARGEST_WEIGHTS, header, read_bytes

    # 两处都是学生给的，看不懂就当没有
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        name = read_bytes(folder / NOTE, 100).decode().strip()
        if name in TASKS:
            return name
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        name = header(read_bytes(folder / WEIGHTS, LARGEST_WEIGHTS)).get("task")
        return name if name in TASKS else None


def train(folder, name, root, limit=None, restart=False, say=print):
    """练 folder 里的 solution.py，权重与进度写在那里；停下了，下次接着练

    异常 : 写法不合规则时 Refused；loss 改过而没有 restart 时 ValueError
    """
    task, source = task_named(name), read_text(Path(folder) / SOLUTION)
    check_source(source)
    module, code = worker.solution(source), training_code(source)
    check_table(module.betas(TIMESTEPS))
    trainer = Trainer(task, module.loss, pictures(name, root)["train"], secrets.randbits(31), limit)
    if restart:
        (Path(folder) / STATE).unlink(missing_ok=True)
    trainer.resume(folder, code)
    say(f"{task.title}：{len(trainer.images)} 张训练图，从第 {trainer.step} 步起，至多 {trainer.limit / 60:.0f} 分钟，停下可以接着练")
    trainer.run(lambda: trainer.save(folder, code), say)
    say(f"练完：{trainer.step} 步，{trainer.elapsed / 60:.1f} 分钟，损失 {trainer.recent:.4f}；权重在 {Path(folder) / WEIGHTS}")
