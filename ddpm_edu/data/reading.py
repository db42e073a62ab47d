"""从数据模块里取一整份，或随机的几张"""
import torch


def load_split(data_module, split):
    """数据模块的一个划分（Dataset）；还没有准备数据时先准备，不碰它的训练数据流"""
    if split not in data_module.splits:
        data_module.prepare_data()
        data_module.setup()
    return data_module.splits[split]


def has_labels(data_module):
    return getattr(data_module, "num_classes", None) is not None


def random_images(dataset, count, seed=0):
    """数据集里固定随机选出的至多 count 张：{"image": ..., "label": ...}"""
    index = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:count]
    return dataset[index]
