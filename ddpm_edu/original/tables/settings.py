"""配置里的键与构造函数的参数：DDPM 自己的那些在参数卡片里（teach/cards.py），这里是其余的"""
from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """一个键：含义、公式、会出什么错、细讲的章"""

    meaning: str
    chapter: int
    wrong: str = ""
    formula: str = ""


STABLE2 = {
    "make_it_fit": Setting("形状对不上的权重也想办法载入（SD 2）。", 10, "课程版没有：形状不符就报错。"),
    "ucg_training": Setting("训练时按概率丢掉条件，采样时才能引导（SD 2）：哪个键、概率 `p`、换成什么 `val`。", 8, "直接改 batch；课程版是 `cond_drop_prob`。"),
    "reset_ema": Setting("载入之后，按载入的权重重建影子（SD 2）。", 11, "课程版在文件里没有影子时自动做。"),
    "reset_num_ema_updates": Setting("EMA 的更新次数归零，热身从头来过（SD 2）。", 11),
}
LATENT = {
    "first_stage_config": Setting("自编码器的配方：图 ↔ 潜变量。", 17),
    "cond_stage_config": Setting("条件编码器的配方，或两个特殊字符串：`__is_first_stage__` 与自编码器共用，`__is_unconditional__` 没有条件。", 17),
    "num_timesteps_cond": Setting("条件自己也掺噪声时，掺到第几步。公开的配置都是 1，也就是不掺。", 17),
    "cond_stage_key": Setting("条件在 batch 里的键。", 17),
    "cond_stage_trainable": Setting("条件编码器要不要一起训练。", 17, "要的话，编码推迟到 `forward` 里做，梯度才传得回去。"),
    "concat_mode": Setting("没有写 `conditioning_key` 时，真就是 `concat`，假就是 `crossattn`。", 17, "默认是真：以为默认是交叉注意力，就会在通道数上报错。"),
    "cond_stage_forward": Setting("用条件编码器的哪个方法；不写就是 `encode` 或直接调用。", 17),
    "scale_factor": Setting("潜变量先乘它再扩散，解码之前再除掉，让标准差的量级是 1。", 17,
                            "是写死的普通属性，不在检查点里：换一份配置就换了一个数。自己的自编码器要自己量，不能照抄 0.18215。", r"z\leftarrow a\,z"),
    "scale_by_std": Setting("用第一批潜变量的标准差来定 `scale_factor`。", 17, "只看第一批；与写死的 `scale_factor` 不要同时用。", r"a=1/\mathrm{std}(z)"),
    "force_null_conditioning": Setting("有条件编码器，却要当作没有条件（SD 2）。", 17),
    "finetune_keys": Setting("微调时哪些权重的形状可以变；null 表示不微调（SD 2 的子类）。", 17),
    "concat_keys": Setting("哪些键拼到通道上（SD 2 的子类，例如补全用的遮罩）。", 8),
    "embedding_dropout": Setting("训练时以这个概率丢掉图像嵌入（SD 2 的 unCLIP）。", 8),
    "low_scale_key": Setting("低分辨率的图在 batch 里的键（SD 2 的放大）。", 17),
    "low_scale_config": Setting("低分辨率的图先掺一点噪声，用哪一个类来掺（SD 2 的放大）。", 17),
    "embedder_config": Setting("图像嵌入用哪一个编码器（SD 2 的 unCLIP）。", 17),
    "noise_aug_config": Setting("图像嵌入也掺一点噪声，用哪一个类来掺（SD 2 的 unCLIP）。", 17),
    "depth_stage_config": Setting("估计深度的网络的配方（SD 2 的深度条件）。", 17),
}
ROOT = {
    "model": Setting("模型：类名、参数与基础学习率。", 17),
    "data": Setting("数据模块的配方。", 10),
    "lightning": Setting("交给 Lightning 的：回调、训练器的选项。", 10),
    "target": Setting("类的全名。", 9, "原来的 `instantiate_from_config` 会导入并调用这里写的任何名字：来路不明的配置等于来路不明的程序。课程版只造允许的类。"),
    "params": Setting("交给这个类的构造函数的参数。", 9),
    "base_learning_rate": Setting("基础学习率：训练脚本再乘上批量、卡数与累积的批数，才赋给 `learning_rate`。", 10,
                                  "换了批量或卡数，真正的学习率就跟着变；脚本的 `--scale_lr False` 关掉它。", r"\eta=\eta_0\times B\times G\times K"),
}
UNET = {
    "image_size": Setting("没有用到，只作记录。", 8),
    "in_channels": Setting("输入的通道数；拼通道的条件、坐标通道都要算进去。", 8, "与 `channels` 不合，第一次前向才报错。"),
    "out_channels": Setting("输出的通道数，与图（潜变量）相同。", 8),
    "model_channels": Setting("最宽分辨率上的通道数，别的级是它的倍数。", 8),
    "attention_resolutions": Setting("在缩小了几倍的那些级上放注意力。", 8, "写的是缩小的倍数，不是边长：`[4, 2, 1]` 在 64×64 上是 16、32、64。"),
    "num_res_blocks": Setting("每一级几个残差块。", 8),
    "channel_mult": Setting("各级的通道数是 `model_channels` 的几倍；有几项就有几级。", 8, "每多一级，边长要多能被 2 整除一次。"),
    "num_heads": Setting("注意力分几个头。", 8),
    "num_head_channels": Setting("每个头几个通道；给了它，就不看 `num_heads`。", 8),
    "use_spatial_transformer": Setting("用带交叉注意力的块，条件才进得来。", 8),
    "transformer_depth": Setting("每处叠几层。", 8),
    "context_dim": Setting("条件向量的维数，要与条件编码器的输出相同。", 8, "SD 1 的 CLIP 是 768，SD 2 的 OpenCLIP 是 1024：两代的权重不能混用。"),
    "use_linear_in_transformer": Setting("进出变换器用全连接，不用 1×1 卷积（SD 2）；两者等价，权重的形状不同。", 8),
    "use_checkpoint": Setting("反向传播时重算中间结果：省显存，慢一些，结果不变。", 14),
    "use_scale_shift_norm": Setting("步号的向量既缩放又平移，不只是相加。", 8),
    "resblock_updown": Setting("用残差块来缩小、放大。", 8),
    "dropout": Setting("随机丢掉一部分激活。", 8),
    "legacy": Setting("注意力的头怎样分，新旧两种写法。", 8),
    "use_fp16": Setting("网络用半精度算。", 14),
    "use_bf16": Setting("网络用 bfloat16 算（SD 2）。", 14),
    "num_classes": Setting("类别嵌入有几类；`sequential` 表示给的已经是向量（SD 2）。", 8),
    "adm_in_channels": Setting("那个向量的维数（SD 2）。", 8),
    "disable_self_attentions": Setting("哪几级不要自注意力。", 8),
    "disable_middle_self_attn": Setting("最里面那一级不要自注意力。", 8),
    "conv_resample": Setting("缩小、放大时用不用卷积。", 8),
    "dims": Setting("图是几维的。", 8),
}
FIRST_STAGE = {
    "embed_dim": Setting("潜变量的通道数。", 17),
    "n_embed": Setting("码本有几个码（VQ）。", 17),
    "ckpt_path": Setting("自编码器的检查点；扩散模型的检查点里也带着它。", 17),
    "monitor": Setting("训练自编码器时看的指标；这里不训练它，没有用。", 17),
    "ddconfig": Setting("编码器、解码器的形状。", 17),
    "lossconfig": Setting("训练自编码器的损失；写 `torch.nn.Identity` 就是不训练。", 17),
    "double_z": Setting("编码器同时给出均值与对数方差（KL）；VQ 是 false。", 17),
    "z_channels": Setting("编码器最里面的通道数。", 17),
    "resolution": Setting("训练自编码器时图的边长。", 17),
    "in_channels": Setting("图的通道数。", 17),
    "out_ch": Setting("解码出来的通道数。", 17),
    "ch": Setting("最宽一级的通道数。", 17),
    "ch_mult": Setting("各级的倍数；有 n 项，边长就缩小 2 的 n-1 次方倍。", 17),
    "num_res_blocks": Setting("每一级几个残差块。", 17),
    "attn_resolutions": Setting("在边长是几的级上放注意力；空的就是不放。", 17),
    "attn_type": Setting("用哪一种注意力。", 17),
    "dropout": Setting("随机丢掉一部分激活。", 17),
}
CONDITION = {
    "freeze": Setting("条件编码器不训练。", 17),
    "layer": Setting("取文字编码器的哪一层：`last` 或 `penultimate`（倒数第二层）。", 17),
    "key": Setting("类别在 batch 里的键。", 17),
    "embed_dim": Setting("嵌入的维数。", 17),
    "n_embed": Setting("嵌入的维数（BERT）。", 17),
    "n_layer": Setting("几层。", 17),
    "n_classes": Setting("几类；多出的一类常当作“无条件”。", 8),
    "max_seq_len": Setting("至多几个词。", 17),
    "vocab_size": Setting("词表多大。", 17),
    "use_tokenizer": Setting("要不要自己分词。", 17),
    "in_channels": Setting("条件图的通道数。", 17),
    "out_channels": Setting("缩小之后的通道数。", 17),
    "n_stages": Setting("缩小几次。", 17),
}
SCHEDULER = {
    "warm_up_steps": Setting("热身多少步。", 12, "热身占满整个周期时除以零。"),
    "cycle_lengths": Setting("各周期多长。", 12, "最后一个周期过完就 TypeError，所以人们写一个天文数字。", r"L"),
    "f_start": Setting("热身从几倍开始；是乘数，不是学习率。", 12, "", r"f_{\text{start}}"),
    "f_max": Setting("热身升到几倍。", 12, "", r"f_{\max}"),
    "f_min": Setting("降到几倍；与 `f_max` 相同就是不降。", 12, "", r"f_{\min}"),
    "lr_start": Setting("热身从几倍开始；名字叫 lr，其实是乘数。", 12, "", r"f_{\text{start}}"),
    "lr_max": Setting("热身升到几倍。", 12, "", r"f_{\max}"),
    "lr_min": Setting("降到几倍。", 12, "", r"f_{\min}"),
    "max_decay_steps": Setting("到第几步降完。", 12),
    "verbosity_interval": Setting("隔多少步印一次乘数；0 就是不印。", 12),
}
DATA = {
    "batch_size": Setting("每张卡一批几个样本。", 10, "它也乘进真正的学习率里。"),
    "num_workers": Setting("几个进程读数据。", 10),
    "wrap": Setting("把数据集再包一层。", 10),
    "train": Setting("训练的数据集。", 10),
    "validation": Setting("验证的数据集。", 10),
    "test": Setting("测试的数据集。", 10),
    "size": Setting("图缩放到多大。", 13),
}
LIGHTNING = {
    "callbacks": Setting("回调。", 10),
    "trainer": Setting("训练器的选项。", 10),
    "modelcheckpoint": Setting("怎样存检查点。", 10),
    "image_logger": Setting("隔一阵画一次样本。", 10),
    "batch_frequency": Setting("隔多少批画一次。", 10, "每次都要采样，太密会拖慢训练。"),
    "max_images": Setting("至多画几张。", 10),
    "increase_log_steps": Setting("开头画得密一些。", 10),
    "accumulate_grad_batches": Setting("累积几批的梯度才更新一次。", 10, "影子却每批都走：累积 4 批，就走 4 次。"),
    "benchmark": Setting("让 cuDNN 先试哪种卷积最快。", 14),
    "every_n_train_steps": Setting("隔多少步存一次。", 10),
    "val_check_interval": Setting("隔多少批验证一次。", 10),
    "num_sanity_val_steps": Setting("开练之前先验证几批，看程序通不通。", 10),
    "find_unused_parameters": Setting("几张卡一起练时，允许有没用到的参数；慢一些。", 14),
    "log_images_kwargs": Setting("交给 `log_images` 的参数。", 10),
}
