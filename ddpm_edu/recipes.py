"""模型的配方：命令行、quickstart 与发布的模型共用 digits_model_config"""


def digits_model_config(max_steps=1000, width=24, channel_mult=(1, 2), num_res_blocks=1, attention=(1, 2),
                        learning_rate=4e-3, ema_decay=0.99):
    """DDPM 的构造参数（普通字典）：v 目标、cosine 噪声表、1 通道 8×8"""
    return {
        "unet_config": {
            "target": "ddpm_edu.UNet",
            "params": {
                "in_channels": 1, "out_channels": 1, "model_channels": width, "num_res_blocks": num_res_blocks,
                "channel_mult": list(channel_mult), "attention_resolutions": list(attention),
            },
        },
        "image_size": 8, "channels": 1, "parameterization": "v", "beta_schedule": "cosine",
        "monitor": "val/loss_ema", "learning_rate": learning_rate, "adam_betas": (0.9, 0.99),
        "ema_decay": ema_decay, "t_sampling": "stratified",
        "scheduler_config": {
            "target": "ddpm_edu.LambdaWarmUpCosineScheduler",
            "params": {"warm_up_steps": min(50, max_steps // 2), "lr_min": 0.02, "lr_max": 1.0, "lr_start": 0.02,
                       "max_decay_steps": max_steps},
        },
    }


def toy_model_config(unet=None, **overrides):
    """课堂与测试用的最小模型：8×8 灰度，几毫秒建好；unet 是 U-Net 参数的改动，其余覆盖 DDPM 的参数"""
    params = {"in_channels": 1, "out_channels": 1, "model_channels": 8, "num_res_blocks": 1, "channel_mult": [1, 2],
              "attention_resolutions": [2], **(unet or {})}
    return {"unet_config": {"target": "ddpm_edu.UNet", "params": params}, "image_size": 8, "channels": 1, **overrides}
