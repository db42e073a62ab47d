"""对照表：原文件里的名字 → 课程版的名字与差别。第 17 章附三与逐句讲解的网页都读这里"""
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """theirs 是原文件里的名字，ours 是这里的名字（空的表示没有），note 是差别或作用；only 是只有它才有的那个仓库"""

    theirs: str
    ours: tuple
    note: str
    only: str = ""


GAUSSIAN, DDPM, SAMPLING, LATENT_CLASS = "gaussian.GaussianDiffusion.", "ddpm.DDPM.", "sampling.Sampling.", "latent.diffusion.LatentDiffusion."

BASE = (
    Row("__init__", (DDPM + "__init__",), "参数同名同序；这里最后才载入检查点，并且逐个检查"),
    Row("register_schedule", (DDPM + "register_schedule", GAUSSIAN + "register_schedule", "gaussian.diffusion_tables"),
        "float64 算表；x0、v 的 VLB 权重重新推导"),
    Row("ema_scope", (DDPM + "ema_scope",), "这里可以嵌套"),
    Row("init_from_ckpt", ("files.persistence.Persistence.init_from_ckpt",), "对不上的键是错误，不只是印出来"),
    Row("q_mean_variance", (GAUSSIAN + "q_mean_variance",), "不从 float32 的 ᾱ 去减"),
    Row("q_sample", (GAUSSIAN + "q_sample",), "相同"),
    Row("predict_start_from_noise", (GAUSSIAN + "predict_start_from_noise",), "相同"),
    Row("predict_start_from_z_and_v", (GAUSSIAN + "predict_start_from_z_and_v",), "相同", "SD 2"),
    Row("predict_eps_from_z_and_v", (GAUSSIAN + "predict_eps_from_z_and_v",), "相同", "SD 2"),
    Row("get_v", (GAUSSIAN + "get_v",), "相同", "SD 2"),
    Row("q_posterior", (GAUSSIAN + "q_posterior",), "第 0 步的对数方差取第 1 步的；那里是 ln(1e-20) = -46"),
    Row("p_mean_variance", (SAMPLING + "p_mean_variance", SAMPLING + "predict_start"), "v 也能采样；截断不改网络的输出"),
    Row("p_sample", (SAMPLING + "p_sample",), "相同；这里还能换成 DDIM 的一步"),
    Row("p_sample_loop", (SAMPLING + "p_sample_loop",), "另可换采样器、少走几步、给起点、给条件"),
    Row("sample", (SAMPLING + "sample",), "DDIM 也从这里进"),
    Row("get_loss", (DDPM + "get_loss",), "损失的名字在构造时就核对"),
    Row("p_losses", (DDPM + "p_losses",), "logvar 真的进损失；VLB 一律乘平方误差"),
    Row("forward", (DDPM + "forward", DDPM + "draw_t"), "也是训练损失"),
    Row("get_input", (DDPM + "get_input",), "CHW 与 HWC 都认，范围也检查"),
    Row("shared_step", (DDPM + "shared_step",), "另取条件"),
    Row("training_step", (DDPM + "training_step",), "随机数由批号决定；NaN 就停"),
    Row("validation_step", (DDPM + "validation_step", DDPM + "_evaluate"), "训练权重与 EMA 权重用同样的 t 与噪声"),
    Row("on_train_batch_end", (DDPM + "optimizer_step",), "EMA 按优化步走，不按批走"),
    Row("_get_rows_from_list", ("images.make_grid",), "相同的用途"),
    Row("log_images", (DDPM + "log_images", "images.log_images"), "缺键会报错；图先截到 [-1, 1]；各行一样长"),
    Row("configure_optimizers", (DDPM + "configure_optimizers", "optim.make_optimizer"), "scheduler_config 真的起作用"),
)

PARTS = (
    Row("extract_into_tensor", ("gaussian.extract_into_tensor",), "相同"),
    Row("make_beta_schedule", ("schedules.make_beta_schedule",), "四个名字相同"),
    Row("noise_like", ("randomness.randn_like",), "repeat_noise 由 p_sample 处理"),
    Row("instantiate_from_config", ("config.instantiate_from_config", "config.get_class"), "只造允许的类，不改配置"),
    Row("count_params", ("parameters.count_params",), "返回整数，带分项"),
    Row("LitEma", ("ema.LitEma",), "名字不会相撞；影子是 float32"),
    Row("DiffusionWrapper", ("conditioning.DiffusionWrapper",), "多两种组合，缺条件就报错"),
    Row("UNetModel", ("unet.UNet", "unet.ResBlock", "unet.AttentionBlock"), "SpatialTransformer 相当于这里的交叉注意力"),
    Row("LambdaWarmUpCosineScheduler", ("lr_scheduler.LambdaWarmUpCosineScheduler",), "相同"),
    Row("LambdaLinearScheduler", ("lr_scheduler.LambdaLinearScheduler",), "热身结束处连续"),
    Row("DDIMSampler.ddim_sampling", (SAMPLING + "p_sample_loop",), "那里是单独的类，另有一个循环"),
    Row("DDIMSampler.p_sample_ddim", ("sampling.ddim_step", SAMPLING + "guided_output"), "引导也在那里面"),
    Row("ucg_training", ("conditioning.drop_condition",), "那里改 batch，这里改条件", "SD 2"),
)

LATENT = (
    Row("instantiate_first_stage", ("latent.first_stage.make_first_stage", LATENT_CLASS + "train"), "造自编码器，冻结，锁在 eval 模式"),
    Row("encode_first_stage", (LATENT_CLASS + "encode_first_stage",), "图 → 潜变量；LDM 的版本还能切块"),
    Row("get_first_stage_encoding", (LATENT_CLASS + "get_first_stage_encoding",), "从分布里抽一个，乘 scale_factor"),
    Row("decode_first_stage", (LATENT_CLASS + "decode_first_stage",), "除以 scale_factor，潜变量 → 图"),
    Row("on_train_batch_start", (LATENT_CLASS + "on_fit_start",), "scale_by_std 时算出 scale_factor：那里用第一批，这里用两千来张"),
    Row("instantiate_cond_stage", (LATENT_CLASS + "__init__",), "造条件编码器；那里还认两个特殊字符串"),
    Row("get_learned_conditioning", (LATENT_CLASS + "get_learned_conditioning",), "文字 → 向量；这里是词号 → 向量"),
    Row("get_unconditional_conditioning", ("conditioning.null_condition",), "“无条件”是什么样子", "SD 2"),
    Row("get_input", (LATENT_CLASS + "get_input", DDPM + "get_condition"), "编码图，编码条件；返回值的个数随参数变"),
    Row("make_cond_schedule", (), "条件也掺噪声时，掺到第几步"),
    Row("forward", (DDPM + "forward",), "抽 t；那里条件编码器若也训练，就在这里编码条件"),
    Row("apply_model", (LATENT_CLASS + "apply_model",), "这里把词号换成向量，那里把条件包成字典；LDM 的版本还能切块"),
    Row("get_fold_unfold", (), "把大图切成重叠的块，再加权拼回；SD 2 里没有用到"),
    Row("p_losses", (DDPM + "p_losses",), "这里用上了 logvar"),
    Row("_predict_eps_from_xstart", (GAUSSIAN + "predict_noise_from_start",), "相同的公式"),
    Row("_prior_bpd", ("likelihood.prior_kl",), "L_T，单位 bits/dim"),
    Row("p_mean_variance", (SAMPLING + "p_mean_variance", SAMPLING + "guided_output"), "多了条件与几个实验性的开关"),
    Row("progressive_denoising", (SAMPLING + "p_sample_loop",), "留下途中的图；这里用 callback"),
    Row("sample_log", ("generate.generate",), "记录用的采样，可选 DDIM"),
    Row("log_images", (DDPM + "log_images",), "先解码再显示"),
    Row("configure_optimizers", (DDPM + "configure_optimizers",), "这里才用到 scheduler_config"),
)


def counterpart(name):
    """"DDPM.q_sample" 这样的名字在对照表里的那一行；没有时 None"""
    owner, _, method = name.partition(".")
    table, key = {"DDPM": (BASE, method), "LatentDiffusion": (LATENT, method)}.get(owner, (PARTS, name))
    return next((row for row in table if row.theirs == key), None)
