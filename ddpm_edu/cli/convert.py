"""python -m ddpm_edu convert：与 diffusers 交换权重，两个方向由来源定；给了原版的 YAML 就读原版的检查点"""
from pathlib import Path

from .errors import check_writable
from .options import Parser, load_model


def make_parser():
    parser = Parser("python -m ddpm_edu convert", description="与 diffusers 交换权重：来源是 diffusers 的文件夹（里面有 model_index.json）就换成我们的检查点，"
                                                              "别的换成 diffusers 的文件夹", allow_abbrev=False)
    parser.add_argument("source", help="diffusers 的文件夹，或我们的检查点（文件，或训练写的文件夹）")
    parser.add_argument("--out", required=True, help="写到哪里：.ckpt 文件，或不存在的文件夹")
    parser.add_argument("--yaml", help="来源是 latent-diffusion 的 DDPM 检查点时，它的配置文件（原版没有把构造参数存进检查点）")
    parser.add_argument("--raw", action="store_true", help="换成 diffusers 时，用原权重而不是 EMA 权重")
    return parser


def convert_main(arguments):
    from ..checks import fail
    from ..files.checkpoint import newest_last, save_checkpoint

    options = make_parser().parse_args(arguments)
    source, exporting = Path(options.source), options.yaml is None and not (Path(options.source) / "model_index.json").exists()
    if exporting and source.is_dir() and newest_last(source) is None:
        fail("来源", "检查点，或里面有 model_index.json 的 diffusers 文件夹", options.source)
    if options.raw and not exporting:
        fail("--raw", "只在换成 diffusers 时给", True)
    if exporting == (Path(options.out).suffix == ".ckpt"):
        fail("--out", "不存在的文件夹" if exporting else "以 .ckpt 结尾的文件名", options.out)
    from ..exchange.diffusers_folder import from_folder, to_folder
    from ..exchange.reference import from_reference, params_from_yaml

    if exporting:
        model = load_model(options.source)
        if model.use_ema and not options.raw:
            model.model_ema.copy_to(model.model)
        to_folder(model, options.out)
        print(f"已写入 {options.out}；用法：diffusers.DDPMPipeline.from_pretrained({options.out!r})")
        return
    check_writable("--out", options.out)
    model = from_folder(options.source) if options.yaml is None else from_reference(options.source, **params_from_yaml(options.yaml))
    save_checkpoint({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, options.out)
    print(f"已写入 {options.out}；画几张：python -m ddpm_edu sample --ckpt {options.out} --out grid.png")
