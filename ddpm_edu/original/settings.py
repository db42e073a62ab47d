"""一个键在它所在的地方是什么意思：DDPM 的构造参数取自参数卡片，其余取自 tables/settings.py"""
from ..teach.cards import CARDS
from .tables.settings import (
    CONDITION,
    DATA,
    FIRST_STAGE,
    LATENT,
    LIGHTNING,
    PERSONAL,
    ROOT,
    SCHEDULER,
    STABLE2,
    UNET,
    Setting,
)

# 从里往外，先碰到谁就在谁里面
PLACES = (("unet_config", UNET), ("control_stage_config", UNET), ("first_stage_config", FIRST_STAGE), ("cond_stage_config", CONDITION),
          ("scheduler_config", SCHEDULER), ("ddconfig", FIRST_STAGE), ("lossconfig", FIRST_STAGE), ("personalization_config", PERSONAL),
          ("data", DATA), ("lightning", LIGHTNING))
ARGUMENTS = {**PERSONAL, **STABLE2, **LATENT}


def argument(name):
    """DDPM 与 LatentDiffusion 的一个构造参数；不认得时 None"""
    card = CARDS.get(name)
    if card is None:
        return ARGUMENTS.get(name)
    # 卡片里的公式有的后面还有字，那就接在含义后面
    plain = card.formula.count("$") == 2 and card.formula.endswith("$")
    return Setting(card.meaning if plain else f"{card.meaning}{card.formula}。", card.chapter, card.wrong, card.formula.strip("$") if plain else "")


def setting(path):
    """配置里的一个键，path 是从外到里的名字；不认得时 None"""
    *outer, name = path
    if name in ("target", "params") or len(path) == 1 or path == ["model", "base_learning_rate"]:
        return ROOT.get(name)
    for place, table in PLACES:
        if place in outer:
            return table.get(name)
    # 单独训练自编码器的配置，它的参数也写在这里
    return argument(name) or FIRST_STAGE.get(name) if outer == ["model", "params"] else None
