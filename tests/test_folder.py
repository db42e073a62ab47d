"""自己的图：各种格式、各种怪样子，一个文件夹或一个 zip；用不了的跳过，说得出原因"""
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_edu import DDPM, ImageFolderDataModule
from ddpm_edu.data import folder as folder_module
from ddpm_edu.data.pictures import Pictures, UnusablePicture, decode

RED, SIZE = (220, 30, 40), 24


def red(width=SIZE, height=SIZE):
    return Image.new("RGB", (width, height), RED)


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def half_transparent():
    image = red().convert("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.array([[0, 255]], np.uint8).repeat(SIZE // 2, 1), (SIZE, 1))))
    return image


def decoded(path, channels=3, size=(SIZE, SIZE)):
    return decode(path.read_bytes(), size, channels)


@pytest.mark.parametrize("name, change, options", [
    ("a.png", lambda i: i, {}), ("a.JPG", lambda i: i, {"quality": 95}), ("a.jpeg", lambda i: i.convert("CMYK"), {"quality": 95}),
    ("a.webp", lambda i: i, {"lossless": True}), ("a.bmp", lambda i: i, {}), ("a.tiff", lambda i: i, {}), ("a.gif", lambda i: i, {}),
    ("调色板.png", lambda i: i.convert("P", palette=Image.Palette.ADAPTIVE), {}), ("cmyk.tif", lambda i: i.convert("CMYK"), {}),
])
def test_every_format_gives_the_same_red(tmp_path, name, change, options):
    pixels = decoded(save(tmp_path / name, change(red()), **options))
    assert pixels.shape == (3, SIZE, SIZE) and pixels.dtype == torch.uint8
    # JPEG 与 CMYK 的往返差几级
    assert (pixels.float().mean((1, 2)) - torch.tensor(RED)).abs().max() < 6


def test_grey_and_sixteen_bits_keep_their_brightness(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, SIZE).astype(np.uint16), (SIZE, 1))
    for name in ("deep.png", "deep.tif"):
        grey = decoded(save(tmp_path / name, Image.fromarray(ramp)), channels=1)
        assert (grey[0, 0].int() - torch.from_numpy((ramp[0] >> 8).astype(np.int32))).abs().max() == 0
    colour = decoded(tmp_path / "deep.png", channels=3)
    assert torch.equal(colour, grey.expand(3, -1, -1))
    with pytest.raises(UnusablePicture, match="浮点"):
        decoded(save(tmp_path / "f.tif", Image.fromarray(np.zeros((SIZE, SIZE), np.float32))))


def test_transparency_becomes_white_or_a_channel_of_its_own(tmp_path):
    for path in (save(tmp_path / "a.png", half_transparent()), save(tmp_path / "b.webp", half_transparent(), lossless=True)):
        assert decoded(path)[:, 0, 0].tolist() == [255, 255, 255] and decoded(path)[:, 0, -1].tolist() == list(RED)
        assert decoded(path, 4)[3, 0].tolist() == [0] * (SIZE // 2) + [255] * (SIZE // 2)
        assert decoded(path, 2).shape == (2, SIZE, SIZE)
    assert decoded(save(tmp_path / "c.png", red()), 4)[3].unique().tolist() == [255]


def test_pictures_are_turned_upright_scaled_and_cropped_in_the_middle(tmp_path):
    # 上红下白、竖着拍的一张，存成横的，记着要转
    upright = Image.new("RGB", (40, 60), "white")
    upright.paste(RED, (0, 0, 40, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "phone.png", upright.transpose(Image.Transpose.ROTATE_90), exif=exif)
    pixels = decoded(path, size=(60, 40))
    assert pixels[:, 5, 20].tolist() == list(RED) and pixels[:, 55, 20].tolist() == [255, 255, 255]
    # 宽的图裁去两边：中间那一条还在
    wide = Image.new("RGB", (90, 30), "white")
    wide.paste(RED, (30, 0, 60, 30))
    pixels = decoded(save(tmp_path / "wide.png", wide), size=(30, 30))
    assert pixels[:, 15, 15].tolist() == list(RED) and (pixels == torch.tensor(RED)[:, None, None]).all(0).float().mean() > 0.85


@pytest.fixture
def nasty(tmp_path):
    """好的 40 张，混着各种坏的"""
    top, random = tmp_path / "我的 图", np.random.RandomState(0)
    for i in range(40):
        noise = Image.fromarray(random.randint(0, 256, (SIZE, SIZE, 3), np.uint8))
        save(top / ("猫" if i % 2 else "狗") / f"第{i // 10}批" / f"{i}.png", noise)
    (top / "猫" / "空的.png").write_bytes(b"")
    (top / "猫" / "文字.jpg").write_text("不是图", encoding="utf-8")
    whole = (top / "狗" / "第0批" / "0.png").read_bytes()
    (top / "狗" / "半张.png").write_bytes(whole[:len(whole) // 2])
    save(top / "狗" / "小.png", red(5, 5))
    (top / "狗" / "说明.txt").write_text("随便", encoding="utf-8")
    (top / "狗" / "苹果手机.HEIC").write_bytes(b"x")
    (top / "狗" / ".隐藏.png").write_bytes(whole)
    (top / "__MACOSX" / "狗").mkdir(parents=True)
    (top / "__MACOSX" / "狗" / "0.png").write_bytes(b"x")
    try:
        (top / "猫" / "圈").symlink_to(top, target_is_directory=True)
        (top / "猫" / "断.png").symlink_to(top / "没有.png")
    except OSError:
        pass
    return top


BAD = {"猫/空的.png", "猫/文字.jpg", "狗/半张.png", "狗/小.png"}


def zipped(folder, path, top=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file() and "圈" not in p.parts):
            archive.write(file, f"{top}{file.relative_to(folder).as_posix()}")
        archive.writestr("../../爬出去.png", b"x")
        archive.writestr("/绝对.png", b"x")
    return path


def contents(data):
    data.setup()
    return {name: split[:] for name, split in data.splits.items()}


def test_a_nasty_folder_loses_only_the_bad_ones_and_says_which(nasty, caplog):
    data = ImageFolderDataModule(nasty, image_size=SIZE, batch_size=4)
    data.setup()
    assert set(data.skipped) - {"猫/断.png"} == BAD and sum(map(len, data.splits.values())) == 40
    assert "用不了" in caplog.text and "小.png 只有 5×5" in caplog.text and "苹果手机.HEIC" in caplog.text
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, SIZE, SIZE) and -1 <= batch["image"].min() and batch["image"].max() <= 1


def test_a_zip_gives_the_same_and_nothing_leaves_it(nasty, tmp_path, caplog):
    (tmp_path / "deep").mkdir()
    # 压缩的是文件夹里的东西，或者连文件夹一起（右键压缩常是这样）
    paths = [zipped(nasty, tmp_path / "deep" / f"图{i}.zip", top) for i, top in enumerate(("", "我的 图/"))]
    before = set(tmp_path.rglob("*"))
    here, *others = (contents(ImageFolderDataModule(root, image_size=SIZE, classes=True)) for root in (nasty, *paths))
    for there in others:
        for name in here:
            assert torch.equal(here[name]["image"], there[name]["image"]) and torch.equal(here[name]["label"], there[name]["label"])
    assert set(tmp_path.rglob("*")) == before and "爬出去.png" in caplog.text


def test_the_first_folder_is_the_class_when_asked(nasty):
    data = ImageFolderDataModule(nasty, image_size=SIZE, classes=True)
    data.setup()
    assert (data.class_names, data.num_classes) == (["狗", "猫"], 2)
    assert data.splits["train"].labels.unique().tolist() == [0, 1]
    assert ImageFolderDataModule(nasty, image_size=SIZE).num_classes is None


def test_the_split_depends_only_on_the_names(nasty):
    names = [f"{i}.png" for i in range(2000)]
    parts = folder_module.split(names)
    assert 60 < len(parts["val"]) < 140 and 60 < len(parts["test"]) < 140 and sorted(sum(parts.values(), [])) == sorted(names)
    more = folder_module.split([*names, "新来的.png"])
    assert all(set(parts[title]) <= set(more[title]) for title in parts)
    assert {title: len(part) for title, part in folder_module.split(["a", "b", "c"]).items()} == {"train": 1, "val": 1, "test": 1}


def test_streaming_gives_the_pictures_of_memory_and_replaces_a_broken_one(nasty, caplog):
    for bad in BAD:
        (nasty / bad).unlink()
    (nasty / "猫" / "断.png").unlink(missing_ok=True)
    kept, streamed = (ImageFolderDataModule(nasty, image_size=(16, SIZE), classes=True, flip=True, batch_size=4, in_memory=how)
                      for how in (True, False))
    inside, outside = contents(kept), contents(streamed)
    assert all(torch.equal(inside[name]["image"], outside[name]["image"]) for name in inside)
    assert inside["train"]["image"].shape[2:] == (16, SIZE)
    # 准备好之后才坏掉的一张：换成后面同一类的，不停下。挑第一类的最后一张，它后面都是另一类，要绕回开头
    train, labels = streamed.splits["train"], inside["train"]["label"]
    last = int((labels == 0).nonzero()[len(train.images) - int((train.labels == 1).sum()) - 1])
    (nasty / train.images.names[last]).write_bytes(b"")
    assert labels[last] == 0 and labels[last + 1] == 1
    assert torch.equal(train[last]["image"], inside["train"]["image"][0]) and train.images.names[last] in caplog.text


def test_worker_processes_read_the_same_zip(nasty, tmp_path):
    path = zipped(nasty, tmp_path / "a.zip")
    batches = []
    for workers in (0, 2):
        data = ImageFolderDataModule(path, image_size=SIZE, batch_size=4, num_workers=workers, in_memory=False)
        data.setup()
        loader = data.train_dataloader()
        batches.append([batch["image"] for batch in loader])
        # 取数据的进程留到下一轮，不必每轮重开
        assert loader.persistent_workers == (workers > 0) and len(list(loader)) == len(batches[-1])
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))


def test_bad_places_are_named_and_nothing_is_written(tmp_path):
    (tmp_path / "空").mkdir()
    (tmp_path / "坏.zip").write_bytes(b"PK\x03\x04" + bytes(40))
    save(tmp_path / "一张" / "a.png", red())
    save(tmp_path / "一类" / "猫" / "a.png", red())
    before = set(tmp_path.rglob("*"))
    for root, words, options in (("没有", "存在的文件夹", {}), ("空", "一张图也没有", {}), ("坏.zip", "完好的 zip", {}),
                                 ("一类", "两个子文件夹", {"classes": True}), ("一张", "至少 3 张", {})):
        with pytest.raises(ValueError, match=words):
            ImageFolderDataModule(tmp_path / root, **options).setup()
    for options in ({"channels": 5}, {"image_size": 0}, {"image_size": (8, 8, 8)}, {"classes": 1}, {"root": 3}):
        with pytest.raises((ValueError, TypeError), match=next(iter(options))):
            ImageFolderDataModule(**{"root": tmp_path / "一张", **options})
    assert set(tmp_path.rglob("*")) == before


def test_bombs_are_just_unusable_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UnusablePicture, match="DecompressionBomb"):
        decoded(save(tmp_path / "many.png", red(60, 60)))
    monkeypatch.setattr("ddpm_edu.data.pictures.LARGEST", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(1 << 20))
    with pytest.raises(UnusablePicture, match="不像一张图"):
        Pictures(tmp_path / "bomb.zip").read("a.png")


@pytest.mark.skipif(os.name == "nt", reason="Windows 的文件名另有规矩")
def test_a_locked_zip_is_skipped_with_its_reason(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"x")
    raw = bytearray((tmp_path / "a.zip").read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(signature) + place] |= 1
    (tmp_path / "a.zip").write_bytes(raw)
    with pytest.raises(UnusablePicture, match="password"):
        Pictures(tmp_path / "a.zip").read("a.png")


# ---- 命令行 ----

SMALL = """
trainer: {logger: false, max_steps: 3, val_check_interval: 3, limit_val_batches: 2, enable_progress_bar: false,
          callbacks: [{class_path: pytorch_lightning.callbacks.ModelCheckpoint, init_args: {dirpath: kept, save_last: true}}]}
model:
  unet_config: {target: ddpm_edu.UNet, params: {in_channels: 1, out_channels: 1, model_channels: 8, num_res_blocks: 1, channel_mult: [1, 2]}}
  channels: 1
  timesteps: 20
"""


def test_one_command_trains_on_a_folder_then_samples_and_evaluates(nasty, tmp_path, monkeypatch, capsys):
    from ddpm_edu.cli.main import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL, encoding="utf-8")
    assert main(["fit", "--config", "folder", "--config", "small.yaml", "--data.root", str(nasty), "--model.image_size=[8,12]",
                 "--data.batch_size=4", "--trainer.accelerator=cpu"]) == 0
    # 续训以检查点里的大小为准，不必再写一遍
    assert main(["fit", "--config", "folder", "--config", "small.yaml", "--data.root", str(nasty), "--data.batch_size=4",
                 "--trainer.accelerator=cpu", "--trainer.max_steps=4", "--ckpt_path=kept/last.ckpt"]) == 0
    assert main(["sample", "--ckpt", "kept/last.ckpt", "--out", "a.png", "-n", "2", "--steps", "2", "--scale", "1", "--quiet"]) == 0
    assert Image.open("a.png").size == (2 * 13 + 1, 8 + 2)
    assert main(["evaluate", "--ckpt", "kept/last.ckpt", "--data", str(nasty), "--num", "2", "--samples", "0", "--device", "cpu"]) == 0
    assert "bits/dim" in capsys.readouterr().out
    assert main(["fit", "--config", "folder", "--config", "small.yaml", "--data.root", str(nasty), "--data.channels=4"]) == 2
    assert "--data.channels 应为不给，或与模型的图一样的 1，得到 4" in capsys.readouterr().err
    assert main(["evaluate", "--ckpt", "kept/last.ckpt", "--data", "没有的", "--num", "2"]) == 2
    assert "没有的" in capsys.readouterr().err


def test_sub_folders_become_the_classes_of_the_network(nasty, tmp_path, monkeypatch, capsys):
    from ddpm_edu.cli.main import main

    monkeypatch.chdir(tmp_path)
    labelled = SMALL.replace("channel_mult: [1, 2]}", "channel_mult: [1, 2], num_classes: 10}")
    (tmp_path / "small.yaml").write_text(labelled, encoding="utf-8")
    assert main(["fit", "--config", "folder-class", "--config", "small.yaml", "--data.root", str(nasty), "--model.image_size=8",
                 "--data.batch_size=4", "--trainer.accelerator=cpu"]) == 0
    model = DDPM.load_from_checkpoint("kept/last.ckpt")
    classes = ImageFolderDataModule(nasty, image_size=8, classes=True).class_names
    # YAML 里写的是 10，以数到的子文件夹为准
    assert model.model.diffusion_model.num_classes == len(classes) != 10 and model.cond_drop_prob == 0.1
    assert main(["sample", "--ckpt", "kept/last.ckpt", "--out", "a.png", "-n", "2", "--steps", "2", "--labels", "0,1", "--quiet"]) == 0
    (tmp_path / "平").mkdir()
    for k in range(3):
        save(tmp_path / "平" / f"{k}.png", red())
    said = capsys.readouterr().out
    assert all(f"{number} 是 {name}" in said for number, name in enumerate(classes)) and "练完 3 步，存在 kept/last.ckpt" in said
    assert main(["fit", "--config", "folder-class", "--data.root", "平"]) == 2
    assert "两个子文件夹" in capsys.readouterr().err
    # --ckpt 可以是文件夹；超过类别数的号码，没有用到也报错
    assert main(["sample", "--ckpt", "kept", "--out", "b.png", "-n", "1", "--steps", "2", "--labels", "0", "--quiet"]) == 0
    for extra, words in ((["--ckpt", "kept", "--labels", "0-9", "-n", "1"], f"有 {len(classes)} 类"), (["--ckpt", "kept"], f"共 {len(classes)} 类"),
                         (["--ckpt", "平", "--labels", "0"], "里面有 last.ckpt 的文件夹")):
        assert main(["sample", "--out", "c.png", *extra]) == 2
        assert words in capsys.readouterr().err and not Path("c.png").exists()


def test_a_class_without_a_usable_picture_is_named(tmp_path, caplog):
    for k in range(4):
        save(tmp_path / "猫" / f"{k}.png", red())
    save(tmp_path / "空狗" / "坏.png", red())
    (tmp_path / "空狗" / "坏.png").write_bytes(b"x")
    ImageFolderDataModule(tmp_path, image_size=8, classes=True).setup()
    assert "网络学不会它们：空狗" in caplog.text


def test_a_classifier_of_one_folder_is_not_used_for_another(nasty, tmp_path):
    save(tmp_path / "别的" / "狗" / "x.png", red())
    save(tmp_path / "别的" / "猫" / "y.png", red())
    one, other = (ImageFolderDataModule(root, image_size=SIZE, classes=True) for root in (nasty, tmp_path / "别的"))
    assert one.identity != other.identity and one.identity == ImageFolderDataModule(nasty, image_size=8, classes=True).identity
