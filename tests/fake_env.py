"""假的环境：一个没有 pip 的虚拟环境，里面的包只有名字、版本与几行代码；造一个不到一秒，不联网"""
import importlib.util
import os
import venv
import zipfile
from pathlib import Path

# 与真的 torch 一样答话
TORCH = """
__version__ = {version!r}
class version: cuda = {cuda_build!r}
class cuda:
    is_available = staticmethod(lambda: {cuda!r})
    get_device_name = staticmethod(lambda: "假的卡")
class backends:
    class mps: is_available = staticmethod(lambda: {mps!r})
class ones:
    def __init__(self, n, device): self.n = n
    def sum(self): {computes}
"""


def torch_module(version="2.13.0", cuda_build=None, cuda=False, mps=False, computes="return self.n"):
    return TORCH.format(**locals())


class FakeEnv:
    """folder 里的虚拟环境"""

    def __init__(self, folder):
        venv.EnvBuilder(symlinks=os.name != "nt").create(folder)
        self.folder = folder
        self.python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.site = next(folder.rglob("site-packages"))

    def add(self, name, version, code=None, requires=()):
        """装一个假包；code 是它的 __init__.py，不写就只有登记、没有模块"""
        info = self.site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(metadata(name, version, requires), encoding="utf-8")
        (info / "INSTALLER").write_text("pip\n")
        if code is not None:
            module = self.site / name.replace("-", "_")
            module.mkdir()
            (module / "__init__.py").write_text(code, encoding="utf-8")
        return self

    def lend_pip(self):
        """借测试环境里的 pip 来用"""
        real = Path(importlib.util.find_spec("pip").origin).parent
        for path in (real, *real.parent.glob("pip-*.dist-info")):
            (self.site / path.name).symlink_to(path, target_is_directory=True)
        return self

    def installed(self):
        """{包的登记文件夹的名字: 里面每个文件的内容}"""
        return {path.relative_to(self.site): path.read_bytes() for path in self.site.rglob("*")
                if path.is_file() and "pip" not in path.relative_to(self.site).parts[0] and "__pycache__" not in path.parts}


def metadata(name, version, requires):
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {r}\n" for r in requires)


def make_wheel(folder, name, version, requires=(), code=""):
    """一个真的能装的小轮子"""
    stem = f"{name.replace('-', '_')}-{version}"
    files = {f"{name.replace('-', '_')}/__init__.py": code, f"{stem}.dist-info/METADATA": metadata(name, version, requires),
             f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    record = "".join(f"{path},,\n" for path in files) + f"{stem}.dist-info/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{stem}.dist-info/RECORD": record}.items():
            wheel.writestr(path, text)
