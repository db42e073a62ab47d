"""随包发布的模型：离线可用，由 python -m ddpm_edu.pretrained 重新生成"""
import json
from importlib.resources import files

from ..checks import check_choice

HERE = files("ddpm_edu") / "pretrained"
NAMES = ("digits",)


def pretrained_card(name="digits"):
    """模型旁边记着的配方、种子与质量（字典）"""
    check_choice("name", name, NAMES)
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def load_pretrained(name="digits"):
    """载入随包模型（eval 模式）；权重是训练结束时的 EMA 权重

    返回 : DDPM；异常：没有这个名字时 ValueError
    """
    from ..ddpm import DDPM

    model = DDPM(**pretrained_card(name)["model"], ckpt_path=str(HERE / f"{name}.safetensors"), load_only_unet=True)
    return model.eval()
