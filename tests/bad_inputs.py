"""坏输入的总表：每一项都要当场报错，写明名字、实得的值、规则，用中文，什么也不写；test_bad_input.py 逐项试"""
import contextlib
import functools
import io
import os
import re
import warnings
from typing import NamedTuple

import torch

from ddpm_edu import DDPM, DigitsDataModule, UNet, instantiate_from_config
from ddpm_edu.cli.main import main
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.files.checkpoint import load_checkpoint, save_checkpoint
from ddpm_edu.generate import generate

NAN, INF = float("nan"), float("inf")


class Case(NamedTuple):
    """name：信息里须有的名字（正则）；shown：须有的实得的值；rule：须有的规则；call(folder)：folder 里可以放输入文件"""

    title: str
    name: str
    shown: str
    call: object
    rule: str = "应为|还缺"


def unet(**params):
    return toy_model_config(params)["unet_config"]


@functools.cache
def model():
    return DDPM(**toy_model_config(timesteps=50, beta_schedule="cosine"))


# ---- 构造函数 ----

# 参数 → 坏的值；信息里的名字或值与它们不同的，写成 (值, 名字, 实得)
CONSTRUCTOR = {
    "unet_config": [None, {}, {"target": "no.Such"}, {"target": "UNet"}, {"target": 3}, {"target": ""}, {"target": "os.system"},
                    (unet(channel_mult=3), "channel_mult", "3"), (unet(attention_resolutions=2), "attention_resolutions", "2"),
                    (unet(bad=1), "unet_config.params", "['bad']"), (unet(in_channels=2), "in_channels", "2"), (unet(out_channels=2), "out_channels", "2")],
    "timesteps": [0, -1, 2.5, "1000", True], "beta_schedule": ["linea", None], "loss_type": ["huber", "L2"],
    "ckpt_path": ["no/such.ckpt", ".", "https://example.com/a.ckpt", 3], "load_only_unet": [(True, "load_only_unet", "None"), "false", 1],
    "monitor": ["", 3], "use_ema": ["false", 1, None], "first_stage_key": ["", None], "image_size": [0, -8, 8.0, 7, "8"],
    "channels": [0, (2, "channels", "1"), 1.0], "log_every_t": [0, 1.5], "clip_denoised": ["true"],
    "linear_start": [0.0, -1e-4, 0.5, NAN], "linear_end": [1.0, (1e-5, "linear_start", "0.0001")], "cosine_s": [-1e-3, "a"],
    "given_betas": [[], [[0.1]], ([NAN], "given_betas", "nan"), ([1.5], "given_betas", "1.5"), ([0.1] * 49, "given_betas.*timesteps=50", "49")],
    "original_elbo_weight": [-1.0, INF], "v_posterior": [-0.1, 1.1, NAN], "l_simple_weight": [-1.0, 0.0],
    "conditioning_key": ["cross", ("adm", "num_classes", "None"), ("concat", "in_channels", "1")],
    "parameterization": ["epsilon", "X0", None],
    "scheduler_config": [3, ["target"], {"target": ".foo.Bar"}, {}, {"target": "os.system"}, {"target": "torch.nn.Linear"},
                         {"target": "ddpm_edu.LambdaLinearScheduler", "params": {"warm_up_steps": [1]}}],
    "use_positional_encodings": [(True, "in_channels", "1"), "no"], "learn_logvar": ["yes"], "logvar_init": [NAN, None],
    "learning_rate": [0.0, -1.0], "adam_betas": [0.9, (0.9,), ((0.9, 1.0), "adam_betas", "1.0")], "weight_decay": [-0.1], "ema_decay": [1.5],
    "ignore_keys": ["model", None, 3, [3], [""]], "seed": [-1, 0.5], "t_sampling": ["random"], "cond_drop_prob": [1.5, 0.5], "cond_key": ["label"],
}


def constructor_cases():
    for name, values in CONSTRUCTOR.items():
        for value in values:
            value, word, shown = value if isinstance(value, tuple) and len(value) == 3 else (value, name, repr(value))
            if isinstance(value, dict) and "target" in value:
                shown = repr(value["target"] if "params" not in value or word != name else value["params"]) if shown == repr(value) else shown
            arguments = {**toy_model_config(timesteps=50), name: value}
            yield Case(f"{name}={value!r}"[:60], word, shown, lambda folder, arguments=arguments: DDPM(**arguments))
    yield Case("parametrization=", "parameterization", "'v'", lambda folder: DDPM(**toy_model_config(), parametrization="v"),
               "没有参数 parametrization")


# ---- 调用 ----

X, T = torch.zeros(4, 1, 8, 8), torch.tensor([0, 10, 30, 49])
BATCHES = {
    "batch 是元组": ((X, 0), "batch", "tuple"), "键不对": ({"img": X}, "batch", "img"), "三维": ({"image": X[:, 0]}, "image", "(4, 8, 8)"),
    "通道数不对": ({"image": X.expand(4, 3, 8, 8)}, "image", "(4, 3, 8, 8)"), "边长不对": ({"image": torch.zeros(2, 1, 16, 16)}, "image", "(2, 1, 16, 16)"),
    "HWC 与 CHW 混了": ({"image": torch.zeros(2, 8, 1, 8)}, "image", "(2, 8, 1, 8)"), "整数像素": ({"image": X.byte()}, "image", "uint8"),
    "0..255": ({"image": X + 255}, "image", "255.0"), "batch 里有 NaN": ({"image": X * NAN}, "image", "nan"),
    "空的 batch": ({"image": X[:0]}, "image", "(0, 1, 8, 8)"), "不是张量": ({"image": [[0.0]]}, "image", "list"),
}
SAMPLES = {"NaN": (X * NAN, "NaN"), "空的": (X[:0], "(0, 1, 8, 8)"), "通道数": (torch.zeros(4, 3, 8, 8), "(4, 3, 8, 8)"),
           "三维的 x": (X[:, 0], "(4, 8, 8)"), "HWC 的 x": (X.permute(0, 2, 3, 1), "(4, 8, 8, 1)"), "字节": (X.byte(), "uint8")}
CALLS = {
    "t 是浮点": ("t", "float32", lambda m: m.q_sample(X, T.float())), "t 是整数": ("t", "3", lambda m: m.q_sample(X, 3)),
    "t = T": ("t", "50", lambda m: m.q_sample(X, T + 1)), "t = -1": ("t", "-1", lambda m: m.q_sample(X, T - 1)),
    "t 少一个": ("t", "(3,)", lambda m: m.q_sample(X, T[:3])), "p_losses 的 t": ("t", "50", lambda m: m.p_losses(X, T + 1)),
    "p_sample 的 t": ("t", "50", lambda m: m.p_sample(X, T + 1)), "边长": ("x_start", "(4, 1, 16, 16)", lambda m: m(torch.zeros(4, 1, 16, 16))),
    "noise 形状": ("noise", "(2, 1, 8, 8)", lambda m: m.q_sample(X, T, X[:2])), "noise 是数": ("noise", "3", lambda m: m.p_losses(X, T, 3)),
    "clip_denoised": ("clip_denoised", "'false'", lambda m: m.p_sample(X, T, "false")), "shape": ("shape", "2", lambda m: m.p_sample_loop(2)),
    "get_loss": ("pred", "(2, 1)", lambda m: m.get_loss(torch.zeros(2, 1), torch.zeros(2, 3))),
    "x_T 有 NaN": ("x_T", "NaN", lambda m: m.sample(1, x_T=X[:1] * NAN)), "x_T 少一张": ("x_T", "(1, 1, 8, 8)", lambda m: m.sample(2, x_T=X[:1])),
    "cond 多余": ("cond", "Tensor", lambda m: m.sample(2, cond=torch.zeros(2))),
    "return_keys": ("return_keys", "['sample']", lambda m: m.log_images({"image": X}, return_keys=["sample"])),
    "CHW 还是 HWC": ("image", "(2, 8, 8, 8)", lambda m: DDPM(**toy_model_config({"in_channels": 8, "out_channels": 8}, channels=8)).get_input(
        {"image": torch.zeros(2, 8, 8, 8)}, "image")),
}
SAMPLING = [("batch_size", 0), ("batch_size", -1), ("batch_size", 2.0), ("sampler", "dpm"), ("steps", 0), ("steps", 51), ("eta", 0.5),
            ("v_posterior", 2.0), ("guidance_scale", 2.0), ("return_intermediates", "no")]
GENERATING = [("num", 0), ("batch_size", 0), ("seed", -1), ("steps", 51), ("num_frames", -1), ("sampler", "euler"), ("use_ema", 1)]
NETWORK = [("in_channels", 0), ("model_channels", 1.5), ("dropout", 1.0), ("attention_resolutions", [8]), ("channel_mult", []), ("num_heads", 3),
           ("num_classes", 0), ("num_res_blocks", 0), ("patch_size", 0)]
DATA = [("batch_size", 0), ("batch_size", 1.5), ("num_workers", -1), ("seed", -1), ("seed", 2**32), ("conditions", "masked"), ("image_size", 16)]
CONFIGS = [None, [], "ddpm_edu.UNet", {}, {"params": {}}, {"target": "torch.nn.Identity", "prams": {}}, {"target": "torch.nn.Linear", "params": 3}]


def call_cases():
    for title, (batch, name, shown) in BATCHES.items():
        yield Case(title, name, shown, lambda folder, batch=batch: model().shared_step(batch))
    for title, (x, shown) in SAMPLES.items():
        for way, call in {"forward": lambda x: model()(x), "p_losses": lambda x: model().p_losses(x, T[:len(x)]),
                          "p_sample": lambda x: model().p_sample(x, T[:len(x)])}.items():
            yield Case(f"{way}：{title}", "x", shown, lambda folder, x=x, call=call: call(x))
    for title, (name, shown, call) in CALLS.items():
        yield Case(title, name, shown, lambda folder, call=call: call(model()))
    groups = {
        "sample": (SAMPLING, lambda kwargs: model().sample(**{"batch_size": 2, "progress": False, **kwargs})),
        "generate": (GENERATING, lambda kwargs: generate(model(), **{"num": 2, "progress": False, **kwargs})),
        "UNet": (NETWORK, lambda kwargs: UNet(**{**unet()["params"], **kwargs})),
        "DigitsDataModule": (DATA, lambda kwargs: DigitsDataModule(**kwargs)),
    }
    for title, (rows, call) in groups.items():
        for name, value in rows:
            shown = repr(value[0] if isinstance(value, list) and value else value)
            yield Case(f"{title}({name}={value!r})", name, shown, lambda folder, call=call, kwargs={name: value}: call(kwargs))
    for config in CONFIGS:
        shown = "prams" if isinstance(config, dict) and "prams" in config else "3" if config == CONFIGS[-1] else repr(config)
        yield Case(f"config={config!r}", "config", shown, lambda folder, config=config: instantiate_from_config(config))


# ---- 文件 ----

def written(content):
    """把内容写成 folder/a.ckpt 再读"""
    def call(folder):
        (folder / "a.ckpt").write_bytes(content)
        load_checkpoint(folder / "a.ckpt")

    return call


def damaged(change, **kwargs):
    """存一份好的，改一改，再交给构造函数"""
    def call(folder):
        content = {"state_dict": model().state_dict(), "hyper_parameters": dict(model().hparams)}
        save_checkpoint(content, folder / "a.ckpt")
        change(folder / "a.ckpt", content)
        DDPM(**{**toy_model_config(timesteps=50, beta_schedule="cosine"), **kwargs}, ckpt_path=str(folder / "a.ckpt"))

    return call


def rewrite(path, content, **changes):
    states = {**content["state_dict"], **changes}
    save_checkpoint({**content, "state_dict": {k: v for k, v in states.items() if v is not None}}, path)


def flip(path, content):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


BIAS = "model.diffusion_model.out.2.bias"
NOTHING = dict(change=lambda path, content: None)
FILES = [
    Case("0 字节", "a.ckpt", "0 字节", written(b"")), Case("网页存成 .ckpt", "a.ckpt", "<htm", written(b"<html>404</html>")),
    Case("只有一个数", "a.ckpt", "RuntimeError", written(b"\x80\x02K\x01.")),
    Case("截断", "a.ckpt", "SHA-256|不能安全读取", damaged(lambda path, content: path.write_bytes(path.read_bytes()[:-500]))),
    Case("翻了一位", "a.ckpt", "实际是", damaged(flip)),
    Case("别的 T", "timesteps", "50", damaged(**NOTHING, timesteps=40)),
    Case("别的参数化", "parameterization", "'eps'", damaged(**NOTHING, parameterization="v")),
    Case("别的噪声表", "beta_schedule", "'cosine'", damaged(**NOTHING, beta_schedule="linear")),
    Case("权重有 NaN", "NaN", BIAS, damaged(lambda path, content: rewrite(path, content, **{BIAS: torch.full((1,), NAN)}))),
    Case("少一个键", "缺少 1 个", BIAS, damaged(lambda path, content: rewrite(path, content, **{BIAS: None}))),
    Case("多一个键", "多出 1 个", "model.more", damaged(lambda path, content: rewrite(path, content, **{"model.more": torch.zeros(1)}))),
    Case("形状不符", "形状不符", BIAS, damaged(lambda path, content: rewrite(path, content, **{BIAS: torch.zeros(2)}))),
    Case("ignore_keys 什么也匹配不到", "ignore_keys", "'no.such'", damaged(**NOTHING, ignore_keys=["no.such"])),
    Case("state_dict 不是字典", "state_dict", "a.ckpt|state_dict", damaged(lambda path, content: save_checkpoint({"state_dict": 5}, path))),
]


# ---- 命令行 ----

def cli(*arguments, **files):
    """folder 里先写好 files；FOLDER 换成 folder 的路径"""
    def call(folder):
        for name, content in files.items():
            (folder / f"{name}.yaml").write_bytes(content)
        if main([argument.replace("FOLDER", str(folder)) for argument in arguments]) == 2:
            raise SystemExit(2)

    return call


def yaml_case(title, name, shown, content):
    return Case(f"YAML {title}", name, shown, cli("fit", "--config", "digits", "--config", "FOLDER/bad.yaml", bad=content))


SAMPLE = ("sample", "--ckpt", "digits", "--out", "a.png", "--device", "cpu")
EVALUATE = ("evaluate", "--ckpt", "digits", "--data", "digits")
FIT = ("fit", "--config", "digits")
COMMANDS = [
    ("subcommand", "什么都没有", ()), ("subcommand", "'foo'", ("foo",)), ("--ckpt", "还缺", ("sample",)), ("--ckpt", "还缺", ("evaluate",)),
    ("unet_config", "还缺", ("fit",)), ("--config", "''", ("fit", "--config")), ("--config", "'no.yaml'", ("fit", "--config", "no.yaml")),
    ("mnist-gpu", "'mnist-tpu'", ("fit", "--config", "mnist-tpu")),
    ("--num", "'x'", (*SAMPLE, "--num", "x")), ("num", "--nmu", (*SAMPLE, "--nmu", "3")), ("--num", "0", (*SAMPLE, "--num", "0")),
    ("--eta", "'x'", (*SAMPLE, "--eta", "x")), ("eta", "2.0", (*SAMPLE, "--eta", "2")), ("--sampler", "'dpm'", (*SAMPLE, "--sampler", "dpm")),
    ("--quiet", "'3'", (*SAMPLE, "--quiet=3")), ("--seed", "-1", (*SAMPLE, "--seed", "-1")), ("--seed", str(2**63), (*SAMPLE, "--seed", str(2**63))),
    ("steps", "0", (*SAMPLE, "--steps", "0")), ("--labels", "'3'", (*SAMPLE, "--labels", "3")), ("guidance_scale", "2.0", (*SAMPLE, "--guidance", "2")),
    ("ckpt_path", "'no.ckpt'", (*SAMPLE, "--ckpt", "no.ckpt")), ("--gif", "'a.mp4'", (*SAMPLE, "--gif", "a.mp4")),
    ("--out", "'a.txt'", (*SAMPLE, "--out", "a.txt")), ("--out", "/proc/x/a.png", (*SAMPLE, "--out", "/proc/x/a.png")),
    ("--out", "/dev/null/a.png", (*SAMPLE, "--out", "/dev/null/a.png")), ("--gif", "/dev/null/a.gif", (*SAMPLE, "--gif", "/dev/null/a.gif")),
    *(("--labels", f"'{value}'" if value else "None", ("sample", "--ckpt", "digits_class", *SAMPLE[3:], *(("--labels", value) if value else ())))
      for value in ("", "a", "9-0")),
    ("cond['c_adm']", "10", ("sample", "--ckpt", "digits_class", *SAMPLE[3:], "--labels", "10")),
    ("--data", "'x'", (*EVALUATE, "--data", "x")), ("--out", "'a.txt'", (*EVALUATE, "--out", "a.txt")), ("--num", "1", (*EVALUATE, "--num", "1")),
    ("--samples", "-1", (*EVALUATE, "--samples", "-1")), ("--steps", "0", (*EVALUATE, "--steps", "0")), ("--seed", "-1", (*EVALUATE, "--seed", "-1")),
    ("--batch-size", "0", (*EVALUATE, "--batch-size", "0")), ("--out", "/dev/null/a.json", (*EVALUATE, "--out", "/dev/null/a.json")),
    ("model.timesteps", "--model.timestep=3", (*FIT, "--model.timestep=3")), ("trainer.max_steps", "max_step=3", (*FIT, "--trainer.max_step=3")),
    ("batch_size", "'batch_sise'", (*FIT, "--data.batch_sise=3")), ("batch_size", "0", (*FIT, "--data.batch_size=0")), ("data", "'Foo'", (*FIT, "--data=Foo")),
    ("v_posterior", "3.0", (*FIT, "--model.v_posterior=3")), ("model.timesteps", "'abc'", (*FIT, "--model.timesteps=abc")),
    ("use_ema", "3", (*FIT, "--model.use_ema=3")), ("parameterization", "'epsilon'", (*FIT, "--model.parameterization=epsilon")),
    ("--seed_everything", "-1", (*FIT, "--seed_everything=-1")), ("--seed_everything", str(2**32), (*FIT, f"--seed_everything={2**32}")),
    ("seed_everything", "'x'", (*FIT, "--seed_everything=x")),
    ("unet_config", "params.model_channels", (*FIT, "--model.unet_config.params.model_channels=16")),
    ("scheduler_config", "params.lr_max", (*FIT, "--model.scheduler_config.params.lr_max=2")),
    ("accelerator", "'foo'", (*FIT, "--trainer.accelerator=foo")), ("precision", "'foo'", (*FIT, "--trainer.precision=foo")),
    ("default_root_dir", "/dev/null/x", (*FIT, "--trainer.default_root_dir=/dev/null/x")),
    ("ckpt_path", "'no.ckpt'", (*FIT, "--ckpt_path=no.ckpt")), ("ckpt_path", "'no.ckpt'", ("validate", *FIT[1:], "--ckpt_path=no.ckpt")),
    ("bad.yaml", "不能安全读取", (*FIT, "--ckpt_path=FOLDER/bad.yaml")),
]
YAMLS = [
    yaml_case("是空的", "bad.yaml", "None", b""), yaml_case("只有注释", "bad.yaml", "None", b"# x\n"), yaml_case("是列表", "bad.yaml", "[1]", b"- 1"),
    yaml_case("语法错", "bad.yaml", "第 2 行", b"a: [1,\n b"), yaml_case("用了制表符", "bad.yaml", "model: 3", b"\tmodel: 3\n"),
    yaml_case("是 GBK", "UTF-8", r"b'\xcb'", "model: {monitor: 损失}".encode("gbk")), yaml_case("是二进制", "UTF-8", r"b'\x80'", b"\x80\x02\xff"),
    yaml_case("有 Python 对象", "bad.yaml", "!!python/object", b"model: !!python/object/apply:os.system ['touch canary']"),
    yaml_case("有未知的键", "trainer.max_steps", "'trainer.max_stepss'", b"trainer: {max_stepss: 3}"),
    yaml_case("data 的未知键", "batch_size", "'batch_sizze'", b"data: {init_args: {batch_sizze: 3}}"),
    yaml_case("类型不对", "model.timesteps", "3.5", b"model: {timesteps: 3.5}"),
    yaml_case("class_path 是函数", "trainer.callbacks", "os.system", b"trainer: {callbacks: [{class_path: os.system}]}"),
    yaml_case("class_path 不是数据模块", "data", "subprocess.Popen", b"data: {class_path: subprocess.Popen}"),
    yaml_case("target 是函数", "unet_config.target", "'os.system'", b"model: {unet_config: {target: os.system}}"),
    yaml_case("日志的目录写不了", "save_dir", "/dev/null/x",
              b"trainer: {logger: {class_path: pytorch_lightning.loggers.CSVLogger, init_args: {save_dir: /dev/null/x}}}"),
]


def command_cases():
    for name, shown, arguments in COMMANDS:
        rule = "原话" if name == "accelerator" else "请" if name == "bad.yaml" else "应为|还缺"
        yield Case(" ".join(arguments) or "（空）", name, shown, cli(*arguments, bad=b"a: 1"), rule)


COMMAND_LINE = "命令行与 YAML"
# 文件坏了没有“范围”可说，要说的是怎么办
FILES = [case._replace(rule="请|ignore_keys") for case in FILES]
CASES = {"构造函数": [*constructor_cases()], "调用": [*call_cases()], "文件": FILES, COMMAND_LINE: [*command_cases(), *YAMLS]}


def complaints(case, folder):
    """试一项：有哪里不合规矩；当前目录须是空的，试完还得是空的"""
    stderr = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(stderr):
            warnings.simplefilter("ignore")
            case.call(folder)
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        message = str(error)
    except SystemExit:
        message = stderr.getvalue()
        if len(re.findall("^错误：", message, re.M)) != 1 or len(message.splitlines()) != 1 or "usage" in message:
            return [f"不是一句话：{message}"]
    else:
        return ["没有报错"]
    found = {"没有写名字": not re.search(case.name, message), "没有写实得的值": not any(word in message for word in case.shown.split("|")),
             "没有写规则": not re.search(case.rule, message), "写了文件": bool(os.listdir())}
    return [f"{what}：{message}" for what, bad in found.items() if bad]
