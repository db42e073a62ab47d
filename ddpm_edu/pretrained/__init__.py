"""随包发布的模型与分类器：离线可用，由 python -m ddpm_edu.authoring.pretrained NAME 重新生成"""
import json
import warnings
from importlib.resources import files

from ..checks import check_choice

HERE = files("ddpm_edu") / "pretrained"
NAMES = ("digits", "digits_class", "mnist", "fashion", "cifar10", "mnist_latent")


def pretrained_card(name="digits"):
    """模型旁边记着的配方、种子与质量（字典）"""
    return _read_json(f"{check_choice('name', name, NAMES)}.json")


def classifier_cards():
    """{数据的名字: 它的分类器的形状、准确率与摘要}"""
    return _read_json("classifiers.json")


def _read_json(name):
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def checked_file(name, sha256):
    """随包文件的路径；摘要对不上时 CheckpointError"""
    from ..files.checkpoint import CheckpointError, sha256_of

    if (found := sha256_of(HERE / name)) != sha256:
        raise CheckpointError(f"{HERE / name} 已损坏：应为 SHA-256 {sha256}，实际 {found}；请重新取得这个文件")
    return str(HERE / name)


def load_pretrained(name="digits", **overrides):
    """载入随包模型（eval 模式），可直接交给 Trainer 接着练；权重是训练结束时的 EMA 权重

    name      : digits、digits_class（8×8，后者按类别），mnist、fashion（28×28，按类别），cifar10（32×32 彩色，按类别）
                mnist_latent（潜空间，28×28，听类别与粗细两个词）
    overrides : 覆盖 DDPM 的个别参数，如微调用的 learning_rate、scheduler_config、ema_decay
    返回      : DDPM；mnist_latent 是 LatentDiffusion；异常：没有这个名字时 ValueError
    """
    from .. import DDPM, LatentDiffusion
    from ..files.names import check_names

    card = pretrained_card(name)
    check_names(card, HERE / f"{name}.json")
    weights = checked_file(f"{name}.safetensors", card["sha256"])
    with warnings.catch_warnings():
        # 格式不带摘要的提醒；上面已经核对过
        warnings.filterwarnings("ignore", ".*SHA-256.*")
        if "first_stage_config" in card["model"]:
            model = LatentDiffusion(**{**card["model"], **overrides}, ckpt_path=weights)
        else:
            model = DDPM(**{**card["model"], **overrides}, ckpt_path=weights, load_only_unet=True)
    return model.eval()
