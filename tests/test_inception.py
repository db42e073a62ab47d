"""FID 用的 Inception：与 torch-fidelity 的逐个数对上，文件先核对再读；KID 的误差，FID 随张数的外推；命令行"""
import functools
import hashlib
import json
import os
import pickle

import pytest
import torch
from torch import nn
from torchmetrics.image.kid import KernelInceptionDistance

from ddpm_edu.cli.main import main
from ddpm_edu.evaluation import inception as module
from ddpm_edu.evaluation.fid import comparable, fid_of, inception_features, kid_of
from ddpm_edu.evaluation.inception import InceptionV3, load_inception, resize_like_tensorflow
from ddpm_edu.evaluation.metrics import frechet_curve, frechet_distance

from .test_evaluation import ckpt  # noqa: F401
from .test_metrics import StandIn, Wrong, noise


@functools.cache
def states(seed=0):
    """一份随机的权重，键与发布的文件相同；信号传得到头，所以改错一处结构，特征就变"""
    generator, found = torch.Generator().manual_seed(seed), {}
    with torch.device("meta"):
        wanted = InceptionV3().state_dict()
    for name, value in sorted(wanted.items()):
        if value.ndim == 4:
            found[name] = torch.randn(value.shape, generator=generator) * (2.5 / value[0].numel()) ** 0.5
        elif name.endswith("running_var"):
            found[name] = 0.8 + 0.4 * torch.rand(value.shape, generator=generator)
        elif name.endswith("bn.weight"):
            found[name] = 1 + 0.1 * torch.randn(value.shape, generator=generator)
        elif value.is_floating_point():
            found[name] = 0.05 * torch.randn(value.shape, generator=generator)
        else:
            found[name] = torch.tensor(0)
    return found


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(states(), path)
    return path


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def test_features_are_those_of_torch_fidelity(weights):
    """同一份权重、同样的图，torch-fidelity 0.4.0 的 FeatureExtractorInceptionV3 给出的数"""
    i = torch.arange(32)
    images = torch.stack([(i[:, None] * k * 7 + i[None] * (11 - k) * 5) % 256 for k in range(6)]).reshape(2, 3, 32, 32).to(torch.uint8)
    network = load_inception(weights, digest_of(weights))
    features = network(images)
    assert features.shape == (2, 2048) and not network.training and not any(p.requires_grad for p in network.parameters())
    assert features.mean(1).tolist() == pytest.approx([6.242946, 6.769086], rel=1e-5)
    assert features[:, ::500].flatten().tolist() == pytest.approx(
        [12.525870, 9.121651, 0.0, 3.462757, 16.160690, 13.572388, 9.749071, 0.0, 4.177640, 17.879259], rel=1e-4)


def test_the_structure_has_the_published_size_and_names():
    with torch.device("meta"):
        network = InceptionV3()
    # torchvision 的 inception_v3 不带辅助分类器是 23 834 568 个参数，1000 类；这里 1008 类
    assert sum(p.numel() for p in network.parameters()) == 23_834_568 + 8 * 2049
    names = network.state_dict().keys()
    for name in ("Conv2d_1a_3x3.conv.weight", "Mixed_5b.branch5x5_1.bn.running_mean", "Mixed_6e.branch7x7dbl_5.conv.weight",
                 "Mixed_7c.branch3x3dbl_3b.bn.bias", "fc.bias"):
        assert name in names


def test_resizing_is_that_of_tensorflow_one():
    x = torch.arange(12.0).reshape(1, 1, 3, 4) ** 2
    got = resize_like_tensorflow(x, 8)
    for row in range(8):
        for column in range(8):
            y, z = row * 3 / 8, column * 4 / 8
            rows, columns = (int(y), min(int(y) + 1, 2)), (int(z), min(int(z) + 1, 3))
            want = sum(float(x[0, 0, r, c]) * wr * wc for r, wr in zip(rows, (1 - y % 1, y % 1)) for c, wc in zip(columns, (1 - z % 1, z % 1)))
            assert float(got[0, 0, row, column]) == pytest.approx(want, abs=1e-4)
    assert torch.equal(resize_like_tensorflow(x, 3)[..., 0], x[..., 0])


def test_both_forms_of_the_file_are_read(tmp_path):
    """2019 年的文件不是 zip，也许没有 num_batches_tracked"""
    old = {name: value for name, value in states().items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    network = load_inception(tmp_path / "old.pth", digest_of(tmp_path / "old.pth"))
    assert torch.equal(network.Mixed_6b.branch_pool.conv.weight, old["Mixed_6b.branch_pool.conv.weight"])


class Runs:
    def __reduce__(self):
        return os.mkdir, ("canary",)


def spoiled(**changes):
    found = {**states(), **changes}
    return {name: value for name, value in found.items() if value is not None}


BIAS = "fc.bias"
BAD_FILES = {
    "没有": (None, r"inception 应为存在的权重文件，得到 '.*a\.pth'.*pt_inception-2015-12-05-6726825d\.pth"),
    "网页": (b"\n<!DOCTYPE html><html>", "inception 应为权重文件，得到 'a.pth，里面是网页'.*下载"),
    "空的": (b"", r"SHA-256 应为以 6726825d 开头的，得到 'e3b0c442……（a.pth，0 字节）'.*没有下完"),
    "别的": (b"PK" + bytes(1000), r"SHA-256 应为以 6726825d 开头的.*1002 字节"),
    "一个对象": (pickle.dumps(Runs()), "能安全读取的权重文件.*UnpicklingError|WeightsUnpickler"),
    "是列表": ([torch.zeros(1)], "'list'"),
    "少一个键": (lambda: spoiled(**{BIAS: None}), "缺少的键 应为 0 个，得到 '1 个，如 fc.bias'"),
    "多一个键": (lambda: spoiled(more=torch.zeros(1)), "多出的键.*more"),
    "1000 类": (lambda: spoiled(**{BIAS: torch.zeros(1000)}), "形状不对的键.*fc.bias"),
    "有 NaN": (lambda: spoiled(**{BIAS: torch.full((1008,), torch.nan)}), "fc.bias 里有 NaN"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_in_one_sentence_and_never_runs(name, tmp_path, monkeypatch):
    content, words = BAD_FILES[name]
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content() if callable(content) else content, path)
    known = path.exists() and name in ("一个对象", "是列表", "少一个键", "多一个键", "1000 类", "有 NaN")
    with pytest.raises(ValueError, match=words) as caught:
        load_inception(path, digest_of(path) if known else None)
    assert len(str(caught.value).splitlines()) == 1 and not (tmp_path / "canary").exists()


def test_a_truncated_file_is_refused(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DIGEST", digest_of(weights))
    (tmp_path / "a.pth").write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match="没有下完"):
        load_inception(tmp_path / "a.pth")
    assert load_inception(weights) is not None


# ---- 由特征算出的数 ----

def clouds(count, shift=0.0, seed=0, d=6):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, d, generator=generator) + moved for moved in (shift, 0.0)]


def drawn(x, y, size):
    """torchmetrics 常见的用法：(平均, 各次抽取之间的标准差)"""
    torch.manual_seed(0)
    metric = KernelInceptionDistance(feature=nn.Identity(), subsets=50, subset_size=size)
    metric.update(y, real=True)
    metric.update(x, real=False)
    return metric.compute()


def test_kid_error_bar_covers_the_spread_of_repeated_measurements():
    found = torch.tensor([kid_of(*clouds(200, 0.1, seed)) for seed in range(40)])
    spread, said = float(found[:, 0].std()), float(found[:, 1].square().mean().sqrt())
    # 四十次的标准差，相对误差约 11%
    assert said == pytest.approx(spread, rel=0.4)
    x, y = clouds(200, 0.1)
    halves = [kid_of(a, b, 5)[0] for a, b in zip(x.split(100), y.split(100))]
    assert kid_of(x, y)[0] == pytest.approx(sum(halves) / 2)
    # 反复抽子集，各次之间的标准差随子集的大小变，不是误差
    few, many = (float(drawn(x, y, size)[1]) for size in (20, 100))
    assert few > 2 * many
    with pytest.raises(ValueError, match="blocks"):
        kid_of(x[:10], y)


def test_the_curve_falls_to_the_distance_of_infinitely_many():
    """同一个分布的两批：距离本该是 0，样本越少越大；外推掉样本的那一份，剩下参照的（第 15 章的公式，(d + d(d+1)/4)/M）"""
    d = 32
    x, y = clouds(4000, d=d)
    values, limit = frechet_curve(x, y, [100, 200, 400, 1000, 4000])
    assert values[-1] == pytest.approx(frechet_distance(x, y)) == pytest.approx(fid_of(x, y), rel=1e-4)
    (few, _), (again, _) = frechet_curve(x, y, [100, 4000], seed=1), frechet_curve(x, y, [100, 4000], seed=1)
    assert values == sorted(values, reverse=True) and few[0] != values[0] and few == again
    assert 0 < limit < values[-1] and limit == pytest.approx((d + d * (d + 1) / 4) / 4000, abs=0.04)
    for sizes, words in (([100], "两种张数"), ([1, 10], "张数"), ([10, 5000], "张数")):
        with pytest.raises(ValueError, match=words):
            frechet_curve(x, y, sizes)


def test_the_numbers_of_a_paper_come_together():
    x, y = clouds(300, 0.3)
    found = comparable(x, y)
    assert found["fid"] == pytest.approx(fid_of(x, y)) and found["kid"] > found["kid_se"] > 0 and found["real_images"] == 300
    assert list(found["fid_curve"])[-1] == "300" and len(found["fid_curve"]) == 15
    wide = clouds(40, d=20)
    assert "fid_inf" not in comparable(*wide)  # 40 张，不多于 20 维的两倍
    with pytest.raises(ValueError, match="num_samples.*20"):
        comparable(x[:19], y)


def test_features_see_what_a_saved_picture_holds():
    """截断、舍入成 uint8；灰度复制成三通道"""
    network = Wrong(lambda x: x.flatten(1).float())
    x = torch.full((2, 1, 2, 2), 1.7)
    assert torch.equal(inception_features(x, network), torch.full((2, 12), 255.0))
    assert torch.equal(inception_features(noise(4, 1, 2, 2), network) % 1, torch.zeros(4, 12))


# ---- 命令行 ----

def test_the_command_prints_fid_and_kid_with_its_error(ckpt, tmp_path, monkeypatch, capsys):  # noqa: F811
    seen = []
    monkeypatch.setattr(module, "load_inception", lambda path: seen.append(path) or Wrong(lambda x: x.float().mean((2, 3))))
    quick = ["evaluate", "--ckpt", str(ckpt[0]), "--data", "digits", "--num", "2", "--steps", "1", "--device", "cpu", "--inception", "w.pth"]
    out = tmp_path / "a.json"
    assert main([*quick, "--num_samples", "24", "--real", "60", "--out", str(out)]) == 0
    report, text = json.loads(out.read_text(encoding="utf-8")), capsys.readouterr().out
    assert seen == ["w.pth"] and report["real_images"] == 60 and report["samples"] == 24
    for words in (f"FID               {report['fid']:.2f}", f"{report['kid']:.5f} ± {report['kid_se']:.5f}", f"{report['fid_inf']:.2f}", "60 张训练图"):
        assert words in text
    assert main([*quick, "--samples", "20", "--both", "--out", str(out)]) == 0
    both = json.loads(out.read_text(encoding="utf-8"))
    text = capsys.readouterr().out
    assert [one["weights"] for one in both] == ["ema", "raw"] and both[0]["real_images"] == 1297 and "EMA 权重" in text and "原权重" in text


@pytest.mark.parametrize(("arguments", "words"), [
    (["--inception", "no.pth"], "inception 应为存在的权重文件，得到 'no.pth'"),
    (["--inception", "no.pth", "--samples", "10"], "--samples 应为 ≥ 20"),
    (["--inception", "no.pth", "--real", "1"], "--real 应为 ≥ 20"),
    (["--real", "100"], "--real 应为与 --inception 一起写"),
])
def test_bad_requests_say_one_sentence(arguments, words, capsys):
    assert main(["evaluate", "--ckpt", "digits", "--data", "digits", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.splitlines()) == 1


def test_the_stand_in_is_still_taken():
    assert inception_features(noise(4, 3, 4, 4), StandIn()).shape == (4, 6)
