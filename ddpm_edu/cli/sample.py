"""python -m ddpm_edu sample：从检查点生成图像，存成 PNG，要看过程就另存 GIF"""
import re
from pathlib import Path

import torch

from ..checks import check_int, fail
from ..generate import generate
from ..images import save_gif, save_grid
from ..sampling import SAMPLERS
from .errors import check_writable
from .options import DATA_HELP, DEVICES, Parser, add_ckpt, load_model, make_data, pick_device


def make_parser():
    parser = Parser("python -m ddpm_edu sample", description="从检查点生成图像", allow_abbrev=False)
    add = parser.add_argument
    add_ckpt(parser)
    add("--out", required=True, help="输出的 PNG 文件")
    add("--gif", help="另存一张 GIF，看去噪的过程")
    add("-n", "--num", type=int, default=64, help="几张（默认 64）")
    add("--nrow", type=int, default=8, help="每行几张（默认 8）")
    add("--batch-size", type=int, default=64, help="一批几张（默认 64）；显存不够就调小")
    add("--sampler", choices=tuple(SAMPLERS), default="ddim")
    add("--steps", type=int, help="走几步；ancestral 默认走满 T 步，ddim 默认 50 步")
    add("--eta", type=float, default=0.0, help="ddim 的随机性，0 到 1")
    add("--v-posterior", type=float, help="ancestral 的方差，0 到 1；默认同训练时的设置")
    add("--labels", help="类别，逐张轮流用：3，或 3,1,4，或 0-9；按类别生成的模型必须给（或给 --data）")
    add("--words", help="一句话，逐张轮流用，如 3 或 \"粗 3,细 7\"；听词的模型（如 mnist_latent）必须给它、--labels 或 --data")
    add("--guidance", type=float, default=1.0, help="无分类器引导的强度，1 为不引导")
    add("--data", help=f"条件取自它的测试图；拼通道、交叉注意力的模型必须给。{DATA_HELP}")
    add("--root", default="data", help="数据目录（默认 data）")
    add("--seed", type=int, default=0)
    add("--raw", action="store_true", help="用原权重而不是 EMA 权重")
    add("--scale", type=int, default=4, help="放大的整数倍数（默认 4）")
    add("--device", default="auto", choices=DEVICES, help="在哪里算；mps 是 Apple 的 GPU（默认有 GPU 就用）")
    add("--quiet", action="store_true", help="不要进度条")
    return parser


def sample_main(arguments):
    options = make_parser().parse_args(arguments)
    check_int("--seed", options.seed, 0, 2**63 - 1)
    check_int("--num", options.num, 1)
    check_int("--nrow", options.nrow, 1)
    check_int("--scale", options.scale, 1)
    for name, path, suffix in (("--out", options.out, ".png"), ("--gif", options.gif, ".gif")):
        if path is not None and Path(path).suffix.lower() != suffix:
            fail(name, f"以 {suffix} 结尾的文件名", path)
        if path is not None:
            check_writable(name, path)
    model = load_model(options.ckpt, options.modules)
    cond = read_condition(model, options)
    images, frames = generate(
        model.to(pick_device(options.device)), options.num, batch_size=options.batch_size, seed=options.seed, cond=cond,
        use_ema=not options.raw, num_frames=40 if options.gif else 0, progress=False if options.quiet else None,
        sampler=options.sampler, steps=options.steps, eta=options.eta, v_posterior=options.v_posterior,
        guidance_scale=options.guidance,
    )
    save_grid(images, options.out, options.nrow, options.scale)
    if options.gif:
        save_gif(frames, options.gif, options.nrow, options.scale)
    print(f"已写入 {options.out}：{options.num} 张，{tuple(images.shape[1:])}")


def read_condition(model, options):
    """--labels 与 --data → sample 用的条件；模型不需要的不许给"""
    embedder = getattr(model.model, "cond_stage_model", None)
    if options.labels is not None and "c_adm" not in model.cond_keys and embedder is None:
        fail("--labels", " 空（这个模型不按类别生成）", options.labels)
    if options.words is not None and (embedder is None or options.labels is not None):
        fail("--words", " 空（这个模型不听词，或已经给了 --labels）", options.words)
    if not model.cond_keys:
        return None
    if embedder is not None and options.data is None:
        return {"c_crossattn": spoken(embedder, options)}
    labels = None if options.labels is None else parse_labels(options.labels, options.num, number_of_classes(model))
    if options.data is None:
        if labels is None and list(model.cond_keys) == ["c_adm"]:
            fail("--labels", f"给出（这个模型按类别生成，共 {number_of_classes(model)} 类）", None, "例如 --labels 0,1；或用 --data 取测试图的类别")
        if labels is None or len(model.cond_keys) > 1:
            fail("--data", f"给出（这个模型要 {', '.join(model.cond_keys)} 条件）", None)
        return {"c_adm": labels}
    cond = condition_from_data(model, options)
    return cond if labels is None else {**cond, "c_adm": labels}


def spoken(embedder, options):
    """--words 或 --labels → (num, L) 的词号；类别 k 是第 k + 1 个词"""
    if options.words is None and options.labels is None:
        fail("--words", f"给出（这个模型听词：{' '.join(embedder.words)}）", None, '例如 --words "粗 3,细 7"，或 --labels 0-9')
    if options.words is None:
        return parse_labels(options.labels, options.num, len(embedder.words))[:, None] + 1
    sentences = options.words.split(",")
    return embedder.encode([sentences[i % len(sentences)] for i in range(options.num)])


def number_of_classes(model):
    """网络说自己有几类；自己写的网络没有说时 None"""
    return getattr(model.model.diffusion_model, "num_classes", None)


def parse_labels(text, num, num_classes=None):
    """"3,1,4" 或 "0-9" → (num,) int64，逐张轮流；超过 num_classes 的报错"""
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        fail("--labels", "类别号，如 3、3,1,4 或 0-9", text)
    labels = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        labels += range(int(low), int(high or low) + 1)
    if not labels:
        fail("--labels", "从小到大的范围", text)
    if num_classes is not None and max(labels) >= num_classes:
        fail("--labels", f"0 到 {num_classes - 1} 的类别号（这个模型有 {num_classes} 类）", text)
    return torch.tensor([labels[i % len(labels)] for i in range(num)])


def condition_from_data(model, options):
    """测试集开头 num 张图的条件"""
    data = make_data(options.data, options.root, model)
    data.prepare_data()
    data.setup("test")
    dataset = data.splits["test"]
    if len(dataset) < options.num:
        fail("--num", f"不超过测试集大小 {len(dataset)} 的整数", options.num)
    return model.get_condition(dataset[:options.num])
