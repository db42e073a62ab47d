"""测量的脚本跑得起来，比的确实是同一份工作；快慢不在这里判断"""
import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from benchmarks import __main__ as side_by_side
from benchmarks import borrowed, from_scratch, gpu, latent, latent_mnist, learning_rate, longer, papers, quality, quick, rows, step_time, targets, weights
from benchmarks.peers import Ours, Task, contenders
from benchmarks.timing import interleaved, train_flops
from ddpm_edu import DDPM, MNISTDataModule, configs, count_params, instantiate_from_config, load_pretrained
from ddpm_edu.teach.papers import measured

from .test_remote_data import serve, small_files  # noqa: F401


@pytest.fixture
def two_steps(monkeypatch):
    """two_steps(脚本)：它照样画那么多批，每批只走两步"""
    def shorten(script):
        draw = script.generate
        monkeypatch.setattr(script, "generate", lambda *args, **options: draw(*args, **{**options, "steps": 2}))

    return shorten


def test_the_tables_are_printed_and_written(tmp_path, capsys):
    path = tmp_path / "a.json"
    step_time.main(["digits", "--batch", "2", "--rounds", "1", "--out", str(path)])
    (row,) = json.loads(path.read_text(encoding="utf-8"))
    assert row["config"] == "digits" and row["batch"] == 64 and row["measured_batch"] == 2 and row["seconds_per_step"] > 0
    assert "| `digits` | 0.40 M | 64 |" in capsys.readouterr().out
    # 按类别生成的配置也量得了
    step_time.main(["digits-class", "--batch", "2", "--rounds", "1"])
    assert "| `digits-class` |" in capsys.readouterr().out
    side_by_side.main(["ema-small", "schedule", "--quick", "--out", str(path)])
    shown = capsys.readouterr().out
    for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
        assert row["values"]["ddpm_edu"] > 0 and f"| {row['work']} |" in shown
    # 量几遍，就是几遍的平均 ± 标准误
    side_by_side.main(["schedule", "--quick", "--runs", "2", "--out", str(path)])
    first, second = (row["values"]["ddpm_edu"] for row in json.loads(path.read_text(encoding="utf-8"))["rows"])
    assert f"| {(first + second) / 2:.3g} ± {abs(first - second) / 2:.1g} |" in capsys.readouterr().out
    # 倍数是最快的一家比我们；只有我们时没有倍数（NaN）
    assert rows.Row("", "s", {"ddpm_edu": 2.0, "a": 6.0, "b": 3.0}).ratio == 1.5
    assert rows.Row("", "s", {"ddpm_edu": 2.0}).ratio != rows.Row("", "s", {"ddpm_edu": 2.0}).ratio
    for wrong, said in ((["step"], "step-digits"), (["schedule", "--runs", "0"], "--runs 要大于 0")):
        with pytest.raises(SystemExit) as stop:
            side_by_side.main(wrong)
        assert stop.value.code == 2 and said in capsys.readouterr().err


def test_borrowed_loops_run_on_copies_of_our_network(monkeypatch):
    networks = []

    def missing(network):
        raise ImportError

    def borrow(network):
        networks.append(network)
        return None, lambda: network(torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.long))

    monkeypatch.setattr(borrowed, "BATCH", 2)
    monkeypatch.setattr(borrowed, "STEPS", 2)
    monkeypatch.setattr(borrowed, "BORROWERS", {"没有装的": missing, "只会画的": borrow, "别家": borrow})
    train, draw = rows.loops(1)
    assert set(train.values) == {"ddpm_edu"} and set(draw.values) == {"ddpm_edu", "只会画的", "别家"} and networks[0] is not networks[1]


@pytest.mark.parametrize("name", borrowed.BORROWERS)
def test_a_borrowed_loop_trains_and_draws(name):
    pytest.importorskip(name.replace("-", "_"), exc_type=ImportError)
    network = Ours(Task.from_config("digits", borrowed.BATCH)).network
    step, draw = borrowed.BORROWERS[name](network)
    assert draw().shape == (borrowed.BATCH, 1, 8, 8)
    if step:
        before = [p.clone() for p in network.parameters()]
        for _ in range(2):
            step(torch.rand(borrowed.BATCH, 1, 8, 8))
        assert not all(map(torch.equal, before, network.parameters()))


def test_gpu_script_runs_its_whole_path_on_the_cpu(tmp_path, capsys, monkeypatch):
    # 在没有 bf16 指令的 CPU 上，两千阶的 bf16 方阵相乘要几十秒，这里不看峰值；采样只走两步
    monkeypatch.setattr(gpu, "matmul_peak", lambda device, dtype: 1e12)
    sample = Ours.sample
    monkeypatch.setattr(Ours, "sample", lambda self, count, sampler, steps: sample(self, count, sampler, 2))
    gpu.main(["--device", "cpu", "--network", "digits", "--batch", "2", "--rounds", "1", "--samples", "1", "--out", str(tmp_path / "a.json"),
              "--settings", "fp32", "bf16"])
    report = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert set(report["rows"]) == {"fp32", "bf16"} and all(row["images_per_second"] > 0 for row in report["rows"].values())
    # 有 GPU 时它会真的去量
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit) as stop:
            gpu.main([])
        assert stop.value.code == 2 and "GPU" in capsys.readouterr().err


def test_the_quick_recipe_is_trained_and_its_digits_are_counted(serve, server, two_steps, tmp_path, monkeypatch, capsys):  # noqa: F811
    two_steps(quick)
    serve(MNISTDataModule, small_files(MNISTDataModule))
    config = configs.load("mnist-first")
    config["trainer"]["max_steps"] = 2
    monkeypatch.setattr(quick, "load", lambda name: {"mnist-first": config}[name])
    quick.main(["--config", "mnist-first", "--data", str(tmp_path), "--seeds", "2", "--images", "10", "--out", str(tmp_path / "a.json")])
    found = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert [run["seed"] for run in found["runs"]] == [0, 1] and all(0 <= run["guidance_1"] <= 1 and run["seconds"] > 0 for run in found["runs"])
    assert "种子 1" in (said := capsys.readouterr().out) and "guidance_2：" in said


def test_the_same_network_is_trained_longer_with_its_whole_plan(serve, server, two_steps, tmp_path, monkeypatch, capsys):  # noqa: F811
    serve(MNISTDataModule, small_files(MNISTDataModule))
    two_steps(longer)

    def short(name):
        config = configs.load(name)
        config["trainer"]["max_steps"], config["model"]["scheduler_config"]["params"]["warm_up_steps"] = 10, 2
        return config

    # 第 13 章的三份计划，与 375 步练完接着走的
    assert [longer.stretched(times)[1:] for times in (0.5, 1, 2)] == [(190, 38), (375, 75), (750, 150)]
    assert longer.stretched(2, hold=True)[1:] == (750, 75)
    plans = [longer.stretched(*each)[0]["model"]["scheduler_config"]["params"] for each in ((0.5,), (2, True))]
    assert [(plan["warm_up_steps"], plan["max_decay_steps"]) for plan in plans] == [(15, 190), (30, 375)]
    monkeypatch.setattr(longer, "load", short)
    longer.main(["--data", str(tmp_path), "--times", "0.5", "1", "--images", "10", "--tests", "4", "--out", str(tmp_path / "a.json"),
                 "--grid", str(tmp_path / "a.png")])
    runs = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["runs"]
    # 末一次验证在走完的那一步；各步都有损失与八批样本
    assert [list(run["steps"])[-1] for run in runs] == ["5", "10"]
    assert all(found["loss"] > 0 and len(found["frechet"]["each"]) == 8 for run in runs for found in run["steps"].values())
    assert "1 倍，种子 0，第 10 步" in capsys.readouterr().out
    # 每一遍都记下了各次验证的损失；两遍各画一行
    assert [list(run["losses"]) for run in runs] == [["1", "2", "3", "4", "5"], ["2", "4", "6", "8", "10"]] and Image.open(tmp_path / "a.png").size == (291, 59)
    found = longer.references(tmp_path, 10, 4)
    assert len(found["真图"]["frechet"]["each"]) == 8 and set(found["发布的"]) == {"loss", "frechet", "recognised", "above"}


def test_a_race_gives_everyone_their_time_and_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    race, path = quality.RACES["digits"], tmp_path / "a.json"
    speed = {quality.OURS: 0.06, quality.PLAIN: 0.02, quality.TUNED: 0.04}
    race = replace(race, base=4, times={quality.OURS: (1,), quality.PLAIN: (3,), quality.TUNED: (1.5,)})
    # 4 步 0.24 秒；三倍的时间里，每步 0.02 秒的走 36 步
    assert race.runs(speed) == [(quality.OURS, 4), (quality.PLAIN, 36), (quality.TUNED, 9)]
    monkeypatch.setitem(quality.RACES, "digits", race)
    monkeypatch.setattr(quality, "frechet_for", lambda data: float)
    monkeypatch.setattr(quality, "seconds_per_step", lambda race, root: speed)
    trained, stop_at = [], 4

    def once(race, root, name, steps, seed):
        if len(trained) == stop_at:
            raise KeyboardInterrupt
        trained.append((name, steps, seed))
        return 10.0 * steps + seed

    monkeypatch.setattr(quality, "once", once)
    with pytest.raises(KeyboardInterrupt):
        quality.main(["--seeds", "2", "--out", str(path)])
    stop_at = 10
    quality.main(["--seeds", "2", "--out", str(path)])
    assert trained == [(name, steps, seed) for seed in (0, 1) for name, steps in race.runs(speed)]
    assert f"| {quality.OURS} | 4 | 0 | 40.5 ± 0.5 | 40.0、41.0 |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        quality.main(["mnist", "--out", str(path)])
    assert "换一个 --out" in capsys.readouterr().err


def test_each_way_has_its_weights_and_drawing_by_weight_expects_the_weighted_loss():
    # 训练之前 Lightning 要搬动模型，换上的权重得留得住
    built = {name: weights.build(way, weights.MOONS).to("cpu") for name, way in weights.WAYS.items()}
    derived = DDPM(**weights.MOONS, beta_schedule="sqrt_linear").lvlb_weights
    for name, model in built.items():
        assert float(model.lvlb_weights.mean()) == pytest.approx(1, rel=1e-5) and (model.l_simple_weight == 1) == ("按权重抽" in name)
    torch.testing.assert_close(built["推导出的"].lvlb_weights, derived / derived.mean())
    front, back = built["只换前段"].lvlb_weights, built["只换后段"].lvlb_weights
    assert len(front[weights.EARLY:].unique()) == len(back[:weights.EARLY].unique()) == 1 < len(front[:weights.EARLY].unique())
    assert weights.effective(built["推导出的"]) == pytest.approx(0.0788, abs=1e-4) and weights.effective(built["推导出的，按权重抽"]) == 1
    # 抽中的次数与权重成正比
    torch.manual_seed(0)
    drawn = built["推导出的，按权重抽"].draw_t(torch.zeros(200_000)).bincount(minlength=1000) / 200
    assert float(drawn[:30].sum()) == pytest.approx(float(built["推导出的"].lvlb_weights[:30].sum()), abs=5)


def test_ways_are_compared_seed_by_seed_and_go_on_where_they_stopped(tmp_path, monkeypatch, capsys):
    trained, path = [], tmp_path / "a.json"

    def measured(way, seed, steps):
        trained.append((way, seed))
        return {"frechet": 10.0 * seed + way.drawn, "bits_per_dim": float(seed)}

    monkeypatch.setitem(weights.DATA, "digits", (measured, 7, [weights.EQUAL, "推导出的，按权重抽"]))
    for seeds in ("1", "2"):
        weights.main(["--seeds", seeds, "--out", str(path)])
    assert len(trained) == len(set(trained)) == 4 == len(json.loads(path.read_text(encoding="utf-8"))["runs"])
    assert "推导出的，按权重抽，Fréchet 距离：6.0000 ± 5.0000，减等权 +1.0000 ± 0.0000" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        weights.main(["moons", "--out", str(path)])
    assert "换一个 --out" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_way_is_measured_on_the_moons(monkeypatch):
    monkeypatch.setattr(weights, "BATCHES", 10)
    # 链短到采样的二百步；最好的猜测要与四千个点逐个比，慢，各换二十个步号
    monkeypatch.setattr(weights, "MOONS", {**weights.MOONS, "timesteps": 200})
    monkeypatch.setattr(weights, "PARTS", {"exact_early": range(20), "exact_late": range(180, 200)})
    found = weights.moons_once(weights.WAYS[weights.EQUAL], 0, 2)
    assert set(found) <= set(weights.MEASURES) and found["simple"] == pytest.approx(found["own"]) and found["noise"] > 1


def test_the_latent_script_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    # 换一张噪声表，等于潜变量放大 s 倍
    kept, shifted = (1 - torch.tensor(latent.betas(s), dtype=torch.float64) for s in (1, 5.5))
    kept, shifted = kept.cumprod(0), shifted.cumprod(0)
    torch.testing.assert_close(shifted / (1 - shifted), 5.5**2 * kept / (1 - kept))
    trained, path, draw, autoencoder = [], tmp_path / "a.json", latent.draw, latent.train_autoencoder

    def short(setting, seed, *rest):
        trained.append((setting, seed))
        return draw(replace(setting, steps=1), seed, *rest)

    monkeypatch.setattr(latent, "CLASSES", torch.arange(10))
    monkeypatch.setattr(latent, "train_autoencoder", lambda train: autoencoder(train, 1))
    monkeypatch.setattr(latent, "draw", short)
    chosen = ["5.5", "snr0.18", "pixel"]
    for seeds in ("1", "2"):
        latent.main([*chosen, "--seeds", seeds, "--out", str(path)])
    assert trained == [(latent.SETTINGS[name], seed) for seed in (0, 1) for name in chosen]
    found = json.loads(path.read_text(encoding="utf-8"))["runs"]
    assert [(run["name"], run["seed"]) for run in found] == [(name, seed) for seed in (0, 1) for name in chosen]
    assert all(run["frechet"] > 0 and ("std" in run) == (run["name"] != "pixel") for run in found)
    assert "| pixel | 2 | — |" in capsys.readouterr().out


def test_the_latent_half_is_trained_again_beside_the_shipped_autoencoder(serve, server, tmp_path, monkeypatch):  # noqa: F811
    serve(MNISTDataModule, small_files(MNISTDataModule))
    config = configs.load("mnist-latent")
    config["trainer"]["max_steps"], config["data"]["init_args"]["batch_size"] = 1, 2
    monkeypatch.setattr(latent_mnist, "load", lambda name: {"mnist-latent": config}[name])
    model, shipped = latent_mnist.retrain(1, tmp_path), load_pretrained("mnist_latent")
    kept = shipped.first_stage_model.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in model.first_stage_model.state_dict().items())
    assert float(model.scale_factor) == float(shipped.scale_factor) and int(model.model_ema.num_updates) == 1
    assert not torch.equal(next(model.model.parameters()), next(shipped.model.parameters()))


def test_the_latent_mnist_script_measures_beta_and_draws_with_both_models(tmp_path, monkeypatch, capsys):
    descend = latent_mnist.descend
    monkeypatch.setattr(latent_mnist, "descend", lambda network, loss_of, steps, lr: descend(network, loss_of, 2, lr))
    latent_mnist.main(["beta-1e-2", "beta-10", "--seeds", "2", "--out", str(tmp_path / "a.json")])
    found = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["runs"]
    assert [run["name"] for run in found] == ["beta-1e-2", "beta-10"] * 2 and all(run["kl"] >= 0 and run["std"] > 0 for run in found)
    assert "| beta-10 | 2 | — |" in capsys.readouterr().out
    for name in latent_mnist.MODELS.values():
        images, labels = latent_mnist.draw(load_pretrained(name), 1.0, 0, count=2)
        assert images.shape == (2, 1, 28, 28) and labels.tolist() == [0, 1]
    restored = latent_mnist.through(load_pretrained("mnist_latent"), images)
    assert restored.shape == images.shape and (restored - images).square().mean() < 0.03


def test_every_recipe_of_a_race_trains_and_draws(two_steps, monkeypatch):
    pytest.importorskip("diffusers")
    two_steps(quality)
    sample = quality.Diffusers.sample
    monkeypatch.setattr(quality.Diffusers, "sample", lambda self, count, sampler, steps: sample(self, 2, sampler, 2))
    race = replace(quality.RACES["digits"], count=2)
    assert quality.seconds_per_step(race, None, rounds=1, steps=1).keys() == race.times.keys()
    for name in race.times:
        assert quality.once(race, None, name, 2, 0).shape == (2, 1, 8, 8)


def test_both_sides_of_a_race_train_the_same_network():
    for race in quality.RACES.values():
        params = race.recipe(600)["unet_config"]["params"]
        task = Task.from_config(race.network, 16)
        assert (params["model_channels"], tuple(params["channel_mult"]), tuple(params["attention_resolutions"])) == (task.width, task.mult, task.attention)
        assert race.recipe(600)["scheduler_config"]["params"]["max_decay_steps"] == 600


def test_the_work_that_is_timed_is_the_work_that_is_named():
    task, calls = Task.from_config("digits", 2), []
    assert interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2, warmup=1).keys() == {"a", "b"}
    assert calls == ["a", "b"] * 3
    one, found = Ours(task), []
    assert count_params(one.network) == count_params(instantiate_from_config(configs.load("digits")["model"]["unet_config"]))
    for module in one.network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda m, i, y: found.append(2 * y.numel() * m.weight[0].numel()))
    total = train_flops(one.predict, task.images()) / 3
    # 卷积占大头；其余（注意力、线性层）在这个网络里不到三成
    assert found and sum(found) <= total < 1.3 * sum(found)
    # 没有装 benchmarks/requirements.txt 时只有我们自己
    made, _ = contenders(task)
    assert len({sum(p.numel() for p in c.network.parameters()) for c in made}) == 1
    for c in made:
        before = next(c.network.parameters()).clone()
        for _ in range(2):
            c.step(task.images())
        assert not torch.equal(before, next(c.network.parameters())) and c.sample(2, "ddim", 3).shape == (2, 1, 8, 8)


def test_only_the_learning_rate_differs_and_a_finished_run_is_not_repeated(tmp_path, monkeypatch, capsys):
    path, trainer = tmp_path / "a.json", learning_rate.quiet_trainer
    monkeypatch.setattr(learning_rate, "quiet_trainer", lambda **options: trainer(**{**options, "limit_val_batches": 1}))
    learning_rate.main(["decay", "--seeds", "2", "--steps", "3", "--out", str(path)])
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    assert [(run["name"], run["seed"]) for run in runs] == [(plan, seed) for seed in (0, 1) for plan in ("不变", "余弦降到 0")]
    # 热身还没有走完，两种练法走的是同一条路；换了种子才不同
    assert runs[0]["loss"] == runs[1]["loss"] and runs[0]["path"] == runs[1]["path"] != runs[2]["path"]
    assert all(len(run["loss"]["训练的权重"]) == 3 and len(run["loss"]["长些的 EMA"]) == 1 for run in runs)
    monkeypatch.setattr(learning_rate, "once", None)
    learning_rate.main(["decay", "--seeds", "2", "--steps", "3", "--out", str(path)])
    assert "末尾，余弦降到 0 减 不变，训练的权重：0.0000 ± 0.0000" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        learning_rate.main(["warm", "--out", str(path)])
    assert "换一个 --out" in capsys.readouterr().err


def test_the_two_level_start_stays_low_and_then_jumps():
    multiplier = instantiate_from_config(learning_rate.recipe((5, 0.2), 1.0, 200))
    assert [multiplier(n) for n in (0, 4, 5, 199)] == [0.2, 0.2, 1.0, 1.0]


def test_the_moons_of_chapter_one_are_measured_again_from_other_seeds(tmp_path, capsys):
    path = tmp_path / "a.json"
    from_scratch.main(["--seeds", "1", "--steps", "3", "--points", "20", "--out", str(path)])
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    assert [run["name"] for run in runs] == list(from_scratch.WAYS)
    # 哪里也不管，就与网络无关；只有送得全的那一种分段量
    assert runs[0]["哪里也不管"] < 0.2 < runs[0]["wrong"] and "t<150" not in runs[1]
    assert "坐标与 t，excess" in capsys.readouterr().out


def test_the_errors_of_chapter_five_are_measured_again(tmp_path, capsys):
    path = tmp_path / "a.json"
    targets.main(["mnist", "--ways", "不加误差", "eps，linear", "--seeds", "1", "--steps", "2", "--out", str(path)])
    plain, wrong = json.loads(path.read_text(encoding="utf-8"))["runs"]
    assert plain["difference"] == 0 < wrong["difference"] and 0 <= wrong["recognised"] <= 1
    targets.main(["moons", "--seeds", "1", "--steps", "2", "--train", "2"])
    assert "| 剩余，t=999 |" in capsys.readouterr().out
    # 最好的输出：t=999 照抄就差不多；网络才练了两步
    error, left = targets.errors(targets.learn("eps", 0, 2), 999)
    assert left < 1e-4 < 0.1 < error
    with pytest.raises(SystemExit):
        targets.main(["moons", "--ways", "不加误差"])
    assert "里没有" in capsys.readouterr().err


def test_the_measurement_runs_resumes_and_is_what_the_chapter_reads(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(papers.FIGURES, "skip", (lambda seed, table, part: {"frechet": float(seed), "list": [1.0, 2.0 + seed]}, ["linear 0"]))
    out = tmp_path / "a.json"
    papers.main(["skip", "--seeds", "2", "--out", str(out)])
    assert "skip linear 0：frechet 0.5000 ± 0.5000" in capsys.readouterr().out
    papers.main(["skip", "--seeds", "3", "--out", str(out)])
    runs = json.loads(out.read_text(encoding="utf-8"))["runs"]
    found = papers.summary({"runs": runs})
    assert [run["seed"] for run in runs] == [0, 1, 2] and found["skip linear 0"]["list"]["mean"] == [1.0, 3.0] and found["skip linear 0"]["seeds"] == 3
    assert found["skip linear 0"]["frechet"]["each"] == [0.0, 1.0, 2.0] and "each" not in found["skip linear 0"]["list"]
    with pytest.raises(SystemExit):
        papers.main(["fig9"])
    names = {" ".join([figure, *setting.split()]) for figure, (_, settings) in papers.FIGURES.items() for setting in settings if figure != "skip"}
    assert papers.settled_at([9, 5, 1], [0.5, 0.1, 0.0]) == 5
    assert names <= measured().keys() and all(row["seeds"] == 8 for row in measured().values())
