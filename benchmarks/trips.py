"""一批数据走到损失、采样两步，各要经过几个函数、几个文件：python -m benchmarks.trips

只数 ddpm_edu 里的，U-Net 里面不数；噪声表、模型都造好之后才开始数
"""
import sys
from collections import Counter
from pathlib import Path

import torch

import ddpm_edu

PACKAGE = str(Path(ddpm_edu.__file__).parent)
TRIPS = {
    "一批 → 损失": lambda model, batch: model.shared_step(batch),
    "DDIM 两步": lambda model, batch: model.sample(1, sampler="ddim", steps=2, progress=False),
    "祖先采样两步": lambda model, batch: model.sample(1, steps=2, progress=False),
}


def visited(function, *args):
    """{(文件, 函数): 几次}：调用 function 时经过的每个函数；推导式与生成器的恢复不算"""
    calls = Counter()

    def watch(frame, event, _):
        code = frame.f_code
        # 刚进函数时 f_lasti 还在开头，生成器恢复时不在
        if event == "call" and code.co_filename.startswith(PACKAGE) and code.co_name[0] != "<" and frame.f_lasti <= 4:
            name = Path(code.co_filename).relative_to(PACKAGE).as_posix()
            if name != "unet.py":
                calls[name, code.co_qualname if sys.version_info >= (3, 11) else code.co_name] += 1

    sys.setprofile(watch)
    try:
        function(*args)
    finally:
        sys.setprofile(None)
    return calls


def make_model():
    unet = {"target": "ddpm_edu.UNet", "params": dict(in_channels=1, out_channels=1, model_channels=8, num_res_blocks=1, channel_mult=[1, 2])}
    return ddpm_edu.DDPM(unet, image_size=8, channels=1)


def main():
    model, batch = make_model(), {"image": torch.zeros(4, 1, 8, 8)}
    for name, trip in TRIPS.items():
        calls = visited(trip, model, batch)
        print(f"{name}：{calls.total()} 次调用，{len({file for file, _ in calls})} 个文件")
        for (file, function), count in calls.items():
            print(f"    {count} {file} {function}")


if __name__ == "__main__":
    main()
