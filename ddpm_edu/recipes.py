"""数字的默认训练配方：命令行、quickstart 与发布的模型共用这一份"""


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
