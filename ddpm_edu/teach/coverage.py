"""课程读到了哪里：每一行源码都被展示并解释过吗？每个构造参数都有卡片和演示吗？

    python -m ddpm_edu.teach.coverage     逐本列出单元、证明、面板的数目
"""
import ast
import functools
import importlib
import inspect
import re

from .books import Cell, book, link, read_cells, sources
from .cards import CARDS, resolve
from .source import MARKS, SourceView, qualified_name, source_lines

# 课程声明要逐行讲解的源码，按章；与 notebook 对不上时测试失败
EXPLAINED = {
    1: ("ddpm.DDPM.__init__",),
    2: ("schedules.make_beta_schedule", "schedules.alphas_cumprod", "schedules.rescale_linear_range", "schedules.check_betas",
        "gaussian.GaussianDiffusion.__init__", "gaussian.GaussianDiffusion.register_schedule", "ddpm.DDPM.register_schedule", "gaussian.diffusion_tables",
        "gaussian.GaussianDiffusion._apply"),
    3: ("gaussian.extract_into_tensor", "gaussian.GaussianDiffusion.q_sample",
        "gaussian.GaussianDiffusion.q_mean_variance"),
    4: ("objectives.EpsObjective", "objectives.X0Objective", "objectives.VObjective",
        "gaussian.GaussianDiffusion.predict_start_from_noise", "gaussian.GaussianDiffusion.predict_noise_from_start",
        "gaussian.GaussianDiffusion.predict_start_from_z_and_v", "gaussian.GaussianDiffusion.predict_eps_from_z_and_v",
        "gaussian.GaussianDiffusion.get_v"),
    5: ("gaussian.GaussianDiffusion.q_posterior", "sampling.Sampling.p_mean_variance", "sampling.Sampling.predict_start",
        "sampling.Sampling.p_sample", "sampling.Sampling.p_sample_loop", "sampling.ancestral_step"),
    6: ("unet.timestep_embedding", "unet.normalization", "unet.ResBlock", "unet.AttentionBlock", "unet.UNet.forward",
        "conditioning.DiffusionWrapper.__init__", "conditioning.DiffusionWrapper.forward", "ddpm.DDPM.apply_model",
        "conditioning.drop_condition", "sampling.Sampling.guided_output", "config.instantiate_from_config",
        "config.get_class", "files.names.check_names", "parameters.count_params"),
    7: ("ema.LitEma.__init__", "ema.LitEma.effective_decay", "ema.LitEma.forward", "ema.LitEma.copy_to", "ema.LitEma.store",
        "ema.LitEma.restore", "ema.averaged_tensors", "ddpm.DDPM.optimizer_step", "ddpm.DDPM.ema_scope"),
    8: ("lr_scheduler.LambdaWarmUpCosineScheduler", "lr_scheduler._CyclicLambda.find_in_interval",
        "lr_scheduler._CyclicLambda.schedule", "lr_scheduler.LambdaWarmUpCosineScheduler2.decay",
        "lr_scheduler.LambdaLinearScheduler.decay", "optim.make_scheduler", "ddpm.DDPM.configure_optimizers"),
    9: ("ddpm.DDPM.get_loss", "ddpm.DDPM.p_losses", "likelihood.kl_constants", "likelihood.prior_kl",
        "likelihood.discretized_gaussian_nll", "likelihood.vlb_terms", "likelihood.bits_per_dim"),
    10: ("ddpm.DDPM.forward", "ddpm.DDPM.draw_t", "ddpm.DDPM.get_input", "ddpm.DDPM.shared_step", "ddpm.DDPM.training_step",
         "ddpm.DDPM.validation_step", "ddpm.DDPM._evaluate", "optim.make_optimizer", "ddpm.DDPM.configure_callbacks",
         "ddpm.DDPM.setup", "randomness.isolated_rng", "files.persistence.Persistence.init_from_ckpt", "ddpm.DDPM.log_images",
         "images.log_images"),
    11: ("sampling.Sampling.sample", "sampling.Sampling.starting_noise", "sampling.ddim_step", "sampling.Sampler", "sampling.check_knobs",
         "conditioning.null_condition", "editing.inpaint", "generate.generate"),
    14: ("likelihood.gaussian_nll", "evaluation.report.bits_report", "evaluation.report.evaluate", "evaluation.metrics.frechet_distance",
         "evaluation.metrics.FrechetDistance",
         "training.timestep_loss.quarters", "training.timestep_loss.spread", "training.timestep_loss.quarter_losses"),
}

MARKED = re.compile(rf"^(?:- )?([{MARKS}])(.*)$", re.M)
MIN_NOTE = 8  # 每个标号的解释至少几个字
MAX_BLOCK = 14  # 一个标号至多管几行非空的源码


def imported(cells):
    """这本 notebook 从包里导入的名字：{名字: 对象}"""
    names = {}
    for cell in cells:
        for node in ast.walk(ast.parse(cell.text)) if cell.code else ():
            if isinstance(node, ast.ImportFrom) and node.module.startswith("ddpm_edu"):
                module = importlib.import_module(node.module)
                names |= {alias.asname or alias.name: getattr(module, alias.name) for alias in node.names}
    return names


def calls(cell, function):
    """单元里对某个函数的全部调用（ast.Call）"""
    return [node for node in ast.walk(ast.parse(cell.text)) if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name) and node.func.id == function] if cell.code else []


def displays(path):
    """[(SourceView, 紧跟着的文字, 单元的下标), ...]：这本 notebook 展示了哪些源码，怎样解释"""
    cells = read_cells(path)
    names, found = imported(cells), []
    for index, (cell, following) in enumerate(zip(cells, [*cells[1:], Cell(False, "")])):
        for call in calls(cell, "show_source"):
            obj = eval(compile(ast.Expression(call.args[0]), str(path), "eval"), {}, names)
            marks = [ast.literal_eval(node) for node in call.args[1:]]
            stop = next((ast.literal_eval(k.value) for k in call.keywords if k.arg == "stop"), None)
            found.append((SourceView(obj, *marks, stop=stop), "" if following.code else following.text, index))
    return found


def views(path):
    """[(SourceView, 紧跟着的文字), ...]"""
    return [(view, text) for view, text, _ in displays(path)]


def explained_lines(path):
    """{对象名: 被展示且有解释的行下标}；标号在后面的文字里没有解释，它管的行就不算"""
    covered = {}
    for view, text in views(path):
        notes = {mark: note for mark, note in MARKED.findall(text)}
        for mark, block in view.blocks():
            if mark and len(notes.get(mark, "").strip()) >= MIN_NOTE and sum(bool(line.strip()) for _, line in block) <= MAX_BLOCK:
                covered.setdefault(view.name, set()).update(i for i, _ in block)
    return covered


def line_coverage():
    """[(章, 对象名, 非空行数, 没讲到的行), ...]"""
    covered = {}
    for path in sources():
        for name, lines in explained_lines(path).items():
            covered.setdefault(name, set()).update(lines)
    rows = []
    for chapter, names in EXPLAINED.items():
        for name in names:
            lines = source_lines(resolve(name))
            wanted = [i for i, line in enumerate(lines) if line.strip()]
            seen = covered.get(qualified_name(resolve(name)), set())
            rows.append((chapter, name, len(wanted), [lines[i] for i in wanted if i not in seen]))
    return rows


def parameters():
    from ..ddpm import DDPM

    return [name for name in inspect.signature(DDPM.__init__).parameters if name != "self"]


def card_coverage():
    """{参数名: [(章, 有没有演示), ...]}：card("…") 所在的单元里，还要真的用到这个参数并证明些什么"""
    found = {name: [] for name in parameters()}
    for path in sources():
        for cell in read_cells(path):
            for call in calls(cell, "card"):
                name = ast.literal_eval(call.args[0])
                used = len(re.findall(rf"\b{name}\b", cell.text)) >= 2
                proved = bool(calls(cell, "check") or calls(cell, "check_raises"))
                found.setdefault(name, []).append((int(path.stem[:2]), used and proved))
    return found


@functools.cache
def sections():
    """{对象名: [(源文件, 单元的下标, 展示了哪些行), ...]}：逐行讲解它的那几格"""
    found = {}
    for chapter, names in EXPLAINED.items():
        wanted, path = {qualified_name(resolve(name)) for name in names}, book(chapter)
        for view, _, index in displays(path) if path else ():
            if view.name in wanted:
                found.setdefault(view.name, []).append((path, index, {i for _, block in view.blocks() for i, _ in block}))
    return found


def section_link(name, text, line):
    """指向讲解某个对象第 line 行（从 0 数）的那一格；没有逐行讲过的，只写文字"""
    places = sections().get(qualified_name(resolve(name)), [])
    path, cell, _ = next((place for place in places if line in place[2]), (None, None, ()))
    return link(path, text, cell) if path else text


class CoverageTable:
    """逐章一行的覆盖表"""

    def __init__(self):
        rows, cards = line_coverage(), card_coverage()
        self.lines = {c: (sum(n for k, _, n, _ in rows if k == c), sum(len(m) for k, _, _, m in rows if k == c)) for c in EXPLAINED}
        self.cards = {c: [name for name in cards if CARDS[name].chapter == c] for c in EXPLAINED}
        self.shown = {name for name, places in cards.items() if places and all(ok for _, ok in places)}
        self.names = {c: [name.rpartition(".")[2] for name in names] for c, names in EXPLAINED.items()}

    def complete(self):
        return not any(missing for _, missing in self.lines.values()) and self.shown == set(parameters())

    def row(self, path, chapter):
        """一本的那一行；没有逐行讲源码的，只有题目"""
        if chapter not in EXPLAINED:
            return f"| {link(path)} | — | — | — | — |"
        total, missing = self.lines[chapter]
        names = "、".join(f"`{name}`" for name in dict.fromkeys(self.names[chapter]))
        cards = "、".join(f"`{name}`" for name in self.cards[chapter]) or "—"
        return f"| {link(path)} | {names} | {total} | {100 * (total - missing) // total}% | {cards} |"

    def markdown(self):
        rows = ["| 章 | 逐行讲解的源码 | 行数 | 讲到 | 参数卡片 |", "|:--|:--|--:|--:|:--|"]
        rows += [self.row(path, int(path.stem[:2])) for path in sources()[1:]]
        total = sum(n for n, _ in self.lines.values())
        rows.append(f"| 合计 |  | {total} | {100 * (total - sum(m for _, m in self.lines.values())) // total}% "
                    f"| {len(self.shown)} / {len(parameters())} |")
        return "\n".join(rows)


def main():
    for path in sources():
        cells = read_cells(path)
        code = [cell for cell in cells if cell.code]
        proofs = sum(len(calls(cell, "check")) + len(calls(cell, "check_raises")) for cell in code)
        panels = sum(len(re.findall(r"^\w+_panel\(", cell.text, re.M)) for cell in code)
        print(f"{path.stem}：{len(cells)} 个单元（代码 {len(code)}），证明 {proofs}，源码 {len(views(path))} 段，面板 {panels}")
    for chapter, name, total, missing in line_coverage():
        if missing:
            print(f"第 {chapter} 章 {name}：{total} 行里有 {len(missing)} 行没讲到，第一行是 {missing[0].strip()!r}")
    for name, places in card_coverage().items():
        if not places or not all(ok for _, ok in places):
            print(f"参数 {name} 的卡片：{'没有演示' if places else '没有显示'}（第 {CARDS[name].chapter} 章）")


if __name__ == "__main__":
    main()
