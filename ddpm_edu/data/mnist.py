"""MNIST 与 Fashion-MNIST：各 60 000 + 10 000 张 28×28 灰度图，十类，文件格式相同"""
import gzip
from pathlib import Path

import numpy as np
import torch

from ..checks import fail
from .remote import RemoteDataModule
from .transfer import RemoteFile


def read_idx(path):
    """读 gzip 压缩的 IDX 文件；头部与长度对不上时 ValueError"""
    data = gzip.decompress(Path(path).read_bytes())
    ndim = data[3] if len(data) >= 4 and data[:3] == b"\x00\x00\x08" else None
    if ndim not in (1, 3) or len(data) < 4 + 4 * ndim:
        fail(str(path), "uint8 的 IDX 文件", data[:4], "文件头不对，请重新下载")
    shape = np.frombuffer(data, ">i4", ndim, 4)
    pixels = np.frombuffer(data, np.uint8, offset=4 + 4 * ndim)
    if pixels.size != int(np.prod(shape)):
        fail(str(path), f"含 {int(np.prod(shape))} 个字节的 IDX 文件", pixels.size, "文件不完整，请重新下载")
    return torch.from_numpy(pixels.reshape(shape).copy())


class MNISTDataModule(RemoteDataModule):
    """MNIST 手写数字（LeCun 1998）；训练集最后 5 000 张作验证集，不做增广；参数见 RemoteDataModule"""

    image_size, channels, num_classes, folder = 28, 1, 10, "mnist"
    mirrors = (
        "https://dataset.bj.bcebos.com/mnist",
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    )
    files = (
        RemoteFile("train-images-idx3-ubyte.gz", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9912422),
        RemoteFile("train-labels-idx1-ubyte.gz", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28881),
        RemoteFile("t10k-images-idx3-ubyte.gz", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1648877),
        RemoteFile("t10k-labels-idx1-ubyte.gz", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4542),
    )

    def read(self, *paths):
        train_images, train_labels, test_images, test_labels = (read_idx(path) for path in paths)
        return (train_images[:, None], train_labels.long()), (test_images[:, None], test_labels.long())


class FashionMNISTDataModule(MNISTDataModule):
    """Fashion-MNIST 衣物（Xiao 2017）；类别依次是 T 恤、裤子、套衫、连衣裙、外套、凉鞋、衬衫、运动鞋、包、短靴"""

    folder = "fashion_mnist"
    mirrors = (
        "https://dataset.bj.bcebos.com/fashion_mnist",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    )
    files = (
        RemoteFile("train-images-idx3-ubyte.gz", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 26421880),
        RemoteFile("train-labels-idx1-ubyte.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29515),
        RemoteFile("t10k-images-idx3-ubyte.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4422102),
        RemoteFile("t10k-labels-idx1-ubyte.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5148),
    )
