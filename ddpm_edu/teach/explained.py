"""哪些源码在哪一格里逐行讲过"""
import ast
import functools
import importlib

from .books import Cell, link, read_cells, sources
from .source import SourceView, qualified_name, resolve

# 课程声明要逐行讲解的源码，按章；与 notebook 对不上时测试失败
EXPLAINED = {
    2: ("schedules.make_beta_schedule", "schedules.alphas_cumprod", "schedules.rescale_linear_range"),
    3: ("gaussian.extract_into_tensor", "gaussian.GaussianDiffusion.q_sample", "gaussian.GaussianDiffusion.q_mean_variance"),
    4: ("gaussian.GaussianDiffusion.q_posterior", "sampling.Sampling.p_sample", "sampling.ancestral_step"),
    5: ("objectives.EpsObjective", "objectives.X0Objective", "objectives.VObjective",
        "gaussian.GaussianDiffusion.predict_start_from_noise", "gaussian.GaussianDiffusion.predict_noise_from_start",
        "gaussian.GaussianDiffusion.predict_start_from_z_and_v", "gaussian.GaussianDiffusion.predict_eps_from_z_and_v",
        "gaussian.GaussianDiffusion.get_v"),
    6: ("ddpm.DDPM.p_losses",),
    7: ("sampling.ddim_step",),
    9: ("ddpm.DDPM.__init__",),
    10: ("ddpm.DDPM.training_step", "ddpm.DDPM._evaluate"),
    11: ("ema.LitEma.__init__", "ema.LitEma.effective_decay", "ema.LitEma.forward", "ddpm.DDPM.optimizer_step", "ddpm.DDPM.ema_scope"),
    12: ("lr_scheduler.LambdaWarmUpCosineScheduler.schedule", "ddpm.DDPM.configure_optimizers"),
    15: ("evaluation.metrics.frechet_distance",),
    18: ("solvers.heun", "solvers.dpmpp"),
    93: ("schedules.check_betas", "gaussian.GaussianDiffusion.__init__", "gaussian.GaussianDiffusion.register_schedule",
         "ddpm.DDPM.register_schedule", "gaussian.diffusion_tables", "gaussian.GaussianDiffusion.register_table",
         "gaussian.GaussianDiffusion._apply", "sampling.Sampling.p_mean_variance", "sampling.Sampling.predict_start",
         "sampling.Sampling.p_sample_loop", "ddpm.DDPM.get_loss", "likelihood.kl_constants", "likelihood.prior_kl",
         "likelihood.discretized_gaussian_nll", "likelihood.vlb_terms", "likelihood.bits_per_dim", "sampling.Sampling.sample",
         "sampling.Sampling.starting_noise", "sampling.Sampler", "sampling.check_knobs", "conditioning.null_condition",
         "editing.inpaint", "generate.generate", "unet.timestep_embedding", "unet.normalization", "unet.ResBlock",
         "unet.AttentionBlock", "unet.UNet.forward", "conditioning.DiffusionWrapper.__init__",
         "conditioning.DiffusionWrapper.forward", "ddpm.DDPM.apply_model", "conditioning.drop_condition",
         "sampling.Sampling.guided_output", "config.instantiate_from_config", "config.get_class", "config.target_class",
         "files.names.check_names", "parameters.count_params", "likelihood.gaussian_nll", "evaluation.report.bits_report",
         "evaluation.report.evaluate", "evaluation.metrics.FrechetDistance", "training.timestep_loss.quarters",
         "training.timestep_loss.spread", "training.timestep_loss.quarter_losses",
         "optim.make_scheduler", "lr_scheduler.LambdaWarmUpCosineScheduler.__init__", "lr_scheduler._CyclicLambda.find_in_interval",
         "lr_scheduler._CyclicLambda.schedule", "lr_scheduler.LambdaWarmUpCosineScheduler2.decay", "lr_scheduler.LambdaLinearScheduler.decay",
         "ddpm.DDPM.shared_step", "ddpm.DDPM.get_input", "ddpm.DDPM.forward", "ddpm.DDPM.draw_t", "randomness.isolated_rng",
         "optim.make_optimizer", "ddpm.DDPM.setup", "ddpm.DDPM.configure_callbacks", "ddpm.DDPM.validation_step",
         "ddpm.DDPM.log_images", "images.log_images", "files.persistence.Persistence.init_from_ckpt", "ema.averaged_tensors",
         "ema.LitEma.copy_to", "ema.LitEma.store", "ema.LitEma.restore"),
}


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


@functools.cache
def sections():
    """{对象名: [(源文件, 单元的下标, 展示了哪些行), ...]}：逐行讲解它的那几格"""
    wanted, found = {qualified_name(resolve(name)) for names in EXPLAINED.values() for name in names}, {}
    for path in sources():
        for view, _, index in displays(path):
            if view.name in wanted:
                found.setdefault(view.name, []).append((path, index, {i for _, block in view.blocks() for i, _ in block}))
    return found


def section_link(name, text, line):
    """指向讲解某个对象第 line 行（从 0 数）的那一格；没有逐行讲过的，只写文字"""
    places = sections().get(qualified_name(resolve(name)), [])
    path, cell, _ = next((place for place in places if line in place[2]), (None, None, ()))
    return link(path, text, cell) if path else text
