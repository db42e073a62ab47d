"""随包发布的模型：离线可用，由 python -m ddpm_edu.authoring.pretrained NAME 重新生成；digits_class 按类别生成"""
import json
import warnings
from importlib.resources import files

from ..checks import check_choice

HERE = files("ddpm_edu") / "pretrained"
NAMES = ("digits", "digits_class")


def pretrained_card(name="digits"):
    """模型旁边记着的配方、种子与质量（字典）"""
    check_choice("name", name, NAMES)
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def load_pretrained(name="digits", **overrides):
    """载入随包模型（eval 模式），可直接交给 Trainer 接着练；权重是训练结束时的 EMA 权重

    overrides : 覆盖 DDPM 的个别参数，如微调用的 learning_rate、scheduler_config、ema_decay
    返回      : DDPM；异常：没有这个名字时 ValueError
    """
    from .. import DDPM
    from ..files.checkpoint import CheckpointError, sha256_of
    from ..files.names import check_names

    card, weights = pretrained_card(name), HERE / f"{name}.safetensors"
    check_names(card, HERE / f"{name}.json")
    if (found := sha256_of(weights)) != card["sha256"]:
        raise CheckpointError(f"{weights} 已损坏：应为 SHA-256 {card['sha256']}，实际 {found}；请重新取得这个文件")
    with warnings.catch_warnings():
        # 格式不带摘要的提醒；上面已经核对过
        warnings.filterwarnings("ignore", ".*SHA-256.*")
        model = DDPM(**{**card["model"], **overrides}, ckpt_path=str(weights), load_only_unet=True)
    return model.eval()
