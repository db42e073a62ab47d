"""命令行的 evaluate：从检查点算出一张质量表"""
import json
import math
from pathlib import Path
from unicodedata import east_asian_width

from ..checks import check_int, fail
from .errors import check_writable
from .options import DATA_HELP, DEVICES, Parser, add_ckpt, load_model, make_data, pick_device


def make_parser():
    parser = Parser(
        "python -m ddpm_edu evaluate", allow_abbrev=False,
        description="评估检查点：测试划分上的 bits/dim 与它的三个部分，样本的 Fréchet 距离与两条参照线",
    )
    add_ckpt(parser)
    parser.add_argument("--data", required=True, help=DATA_HELP)
    parser.add_argument("--root", default="data", help="数据目录，也放训练好的小分类器（默认 data）")
    parser.add_argument("--num", type=int, default=256, help="算 bits/dim 的图数，每张要走满 T 步（默认 256）")
    parser.add_argument("--samples", "--num_samples", type=int, default=1024, help="算 Fréchet 距离、FID 与 KID 的样本数，0 为不算（默认 1024，论文用 50000）")
    parser.add_argument("--inception", metavar="FILE", help="Inception-v3 的权重文件（pytorch-fid 或 torch-fidelity 发布的那一份），给了就另算 FID 与 KID")
    parser.add_argument("--real", type=int, help="FID 与 KID 用几张训练图（默认全部）")
    parser.add_argument("--steps", type=int, default=50, help="采样的 DDIM 步数（默认 50）")
    parser.add_argument("--batch-size", type=int, default=64, help="一次算几张图的 bits/dim（默认 64）")
    parser.add_argument("--seed", type=int, default=0, help="噪声的种子（默认 0）")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--raw", action="store_true", help="用原权重而不是 EMA 权重")
    weights.add_argument("--both", action="store_true", help="EMA 权重与原权重各评估一遍，图与噪声都相同")
    parser.add_argument("--device", default="auto", choices=DEVICES, help="在哪里算；mps 是 Apple 的 GPU（默认有 GPU 就用）")
    parser.add_argument("--out", help="另存为 JSON 文件")
    return parser


def evaluate_main(arguments):
    options = make_parser().parse_args(arguments)
    check_int("--num", options.num, 2)
    check_int("--samples", options.samples, 0)
    check_int("--steps", options.steps, 1)
    check_int("--batch-size", options.batch_size, 1)
    check_int("--seed", options.seed, 0, 2**63 - 1)
    if options.out is not None and Path(options.out).suffix.lower() != ".json":
        fail("--out", "以 .json 结尾的文件名", options.out)
    if options.out is not None:
        check_writable("--out", options.out)

    if options.inception is not None:
        check_int("--samples", options.samples, 20, advice="要算 FID 与 KID")
        if options.real is not None:
            check_int("--real", options.real, 20)
    elif options.real is not None:
        fail("--real", "与 --inception 一起写", options.real)

    from ..evaluation.inception import load_inception
    from ..evaluation.report import evaluate
    from ..files.checkpoint import atomic_file

    device = pick_device(options.device)
    inception = None if options.inception is None else load_inception(options.inception).to(device)
    model = load_model(options.ckpt, options.modules).to(device)
    data = make_data(options.data, options.root, model)
    reports = []
    for use_ema in (True, False) if options.both else (not options.raw,):
        report = evaluate(model, data, max_images=options.num, num_samples=options.samples, steps=options.steps,
                          use_ema=use_ema, seed=options.seed, batch_size=options.batch_size, inception=inception, real_images=options.real,
                          cache=Path(options.root) / f"{Path(options.data).stem}_classifier.ckpt")
        reports.append({"ckpt": options.ckpt, "data": options.data, "weights": "ema" if use_ema else "raw", **report})
        print(table(reports[-1]))
    report = reports if options.both else reports[0]
    if options.out is not None:
        with atomic_file(options.out) as file:
            file.write((json.dumps(report, ensure_ascii=False, indent=2) + "\n").encode())
        print(f"已写入 {options.out}")


def table(report):
    """报告 → 对齐的几行文字"""
    rows = [("bits/dim", "没有算", "潜空间的模型给不出图的编码长度")] if "bits_per_dim" not in report else [
        ("bits/dim", f"{report['bits_per_dim']:.4f} ± {report['bits_per_dim_se']:.4f}", f"{report['images']} 张图的平均与标准误"),
        ("  L_0", f"{report['L_0']:.4f}", "最后一步：像素落在自己那一格"),
        ("  L_1 … L_{T-1}", f"{report['L_kl']:.4f}", "中间各步 KL 之和"),
        ("  L_T", f"{report['L_T']:.4f}", "起点与 N(0, I) 的差距"),
        ("  不用模型", f"{math.log2(report['levels']):.4f}", f"{report['levels']} 级像素，按均匀分布编码"),
    ]
    if "frechet" in report:
        rows += [
            ("Fréchet 距离", f"{report['frechet']:.2f}", f"{report['samples']} 个样本，DDIM {report['steps']} 步，越小越好"),
            ("  真图对真图", f"{report['frechet_floor']:.2f}", "同样多的训练图对测试集，作参照"),
            ("  纯噪声", f"{report['frechet_ceiling']:.2f}", "作参照"),
        ]
    if "recognised" in report:
        rows.append(("认得出", f"{report['recognised']:.1%}", f"分类器认作所要的那一类；其中把握超过九成的占 {report['sure']:.1%}"))
    if "fid" in report:
        rows += [
            ("FID", f"{report['fid']:.2f}", f"{report['samples']} 个样本对 {report['real_images']} 张训练图，张数不同的不能比"),
            ("KID", f"{report['kid']:.5f} ± {report['kid_se']:.5f}", "无偏；切成十份的平均与标准误"),
        ]
    if "fid_inf" in report:
        rows.append(("  FID，张数无穷", f"{report['fid_inf']:.2f}", f"照 1/N 外推，用了 {len(report['fid_curve'])} 种张数"))
    elif "fid" in report:
        rows.append(("  FID，张数无穷", "没有算", "样本要多于特征维数的两倍，才外推得出"))
    elif report["data"] == "cifar10":
        rows.append(("FID", "没有算", "要自己的 Inception 权重文件，见 --inception"))
    weights = {"raw": "原权重", "ema": "EMA 权重"}[report["weights"]]
    head = f"{report['ckpt']}（{weights}），{report['data']} 的测试划分"
    return "\n".join([head, *(f"{pad(name, 18)}{pad(value, 20)}{note}" for name, value, note in rows)])


def pad(text, width):
    """补空格到 width 格；一个汉字算两格"""
    return text + " " * (width - sum(1 + (east_asian_width(c) in "WF") for c in text))
