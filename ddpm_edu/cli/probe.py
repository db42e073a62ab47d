"""由被查的那个 Python 运行（python -c 这里的全文），只用标准库：查一项印一行 JSON，半路倒下时，前面的还在

印的是 {"项": 结果}；导入不了的是 {"项": {"error": "…"}}。doctor.py 读它
"""
import json
import platform
import re
import struct
import sys
from importlib import import_module
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path


def python():
    return {"version": platform.python_version(), "path": sys.executable, "bits": 8 * struct.calcsize("P")}


def packages():
    names = ((d.metadata["Name"], d.version) for d in reversed(list(distributions())))
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in names if name and version}


def font():
    spec = find_spec("zhplot")
    return bool(spec) and any(Path(folder, "fonts", "NotoSansSC-Regular.ttf").exists() for folder in spec.submodule_search_locations)


def kernel():
    """JupyterLab 会用哪个 Python 起内核；没有登记时 None"""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        return None
    return {"python": spec.argv[0], "folder": spec.resource_dir, "has_ipykernel": find_spec("ipykernel") is not None}


def torch():
    torch = import_module("torch")
    found = {"version": torch.__version__, "path": torch.__file__, "cuda_build": torch.version.cuda, "cuda": torch.cuda.is_available(),
             "mps": torch.backends.mps.is_available()}
    device = "cuda" if found["cuda"] else "mps" if found["mps"] else None
    try:
        found["gpu"] = torch.cuda.get_device_name() if found["cuda"] else device
        # 看得见不等于算得动：驱动旧、卡太新或太旧，都要真的算一次才知道
        found["computes"] = device and float(torch.ones(2, device=device).sum()) == 2
    except RuntimeError as error:
        found = {"gpu": device, **found, "computes": False, "reason": str(error).strip().splitlines()[0]}
    return found


def torchvision():
    return import_module("torchvision").__version__ if find_spec("torchvision") else None


def lightning():
    return import_module("pytorch_lightning").__version__


if __name__ == "__main__":
    for check in (python, packages, font, kernel, torch, torchvision, lightning):
        try:
            result = check()
        except BaseException as error:  # 坏的包导入时什么都抛得出来
            result = {"error": f"{type(error).__name__}: {error}".strip().splitlines()[0]}
        print(json.dumps({check.__name__: result}), flush=True)
