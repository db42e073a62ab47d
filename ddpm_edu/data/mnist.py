"""MNIST 与 Fashion-MNIST：各 60 000 + 10 000 张 28×28 灰度图，十类，文件格式相同"""
import numpy as np
import torch

from ..checks import fail
from .remote import RemoteDataModule
from .transfer import RemoteFile, open_packed


def read_idx(path):
    """读 IDX 文件，有没有用 gzip 压缩都行；头部与长度对不上时 ValueError"""
    with open_packed(path) as file:
        data = file.read()
    ndim = data[3] if len(data) >= 4 and data[:3] == b"\x00\x00\x08" else None
    if ndim not in (1, 3) or len(data) < 4 + 4 * ndim:
        fail(str(path), "uint8 的 IDX 文件", data[:4], "文件头不对，请重新下载")
    shape = np.frombuffer(data, ">i4", ndim, 4)
    pixels = np.frombuffer(data, np.uint8, offset=4 + 4 * ndim)
    if pixels.size != int(np.prod(shape)):
        fail(str(path), f"含 {int(np.prod(shape))} 个字节的 IDX 文件", pixels.size, "文件不完整，请重新下载")
    return torch.from_numpy(pixels.reshape(shape).copy())


class MNISTDataModule(RemoteDataModule):
    """MNIST 手写数字（LeCun 1998）；训练集最后 5 000 张作验证集，不做增广；参数见 RemoteDataModule

    root 里现成的也用：官方的 .gz、解开的、别人重新压缩的，torchvision 的 MNIST/raw/
    """

    image_size, channels, num_classes, folder = 28, 1, 10, "mnist"
    elsewhere = (".", "MNIST/raw")
    mirrors = (
        "https://dataset.bj.bcebos.com/mnist",
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    )
    files = (
        RemoteFile("train-images-idx3-ubyte.gz", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", 9912422, packed=True),
        RemoteFile("train-labels-idx1-ubyte.gz", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", 28881, packed=True),
        RemoteFile("t10k-images-idx3-ubyte.gz", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", 1648877, packed=True),
        RemoteFile("t10k-labels-idx1-ubyte.gz", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", 4542, packed=True),
    )

    def read(self, *paths):
        train_images, train_labels, test_images, test_labels = (read_idx(path) for path in paths)
        return (train_images[:, None], train_labels.long()), (test_images[:, None], test_labels.long())


class FashionMNISTDataModule(MNISTDataModule):
    """Fashion-MNIST 衣物（Xiao 2017）；类别依次是 T 恤、裤子、套衫、连衣裙、外套、凉鞋、衬衫、运动鞋、包、短靴"""

    folder = "fashion_mnist"
    elsewhere = (".", "FashionMNIST/raw", "/usr/share/datasets/fashion-mnist")
    mirrors = (
        "https://dataset.bj.bcebos.com/fashion_mnist",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    )
    files = (
        RemoteFile("train-images-idx3-ubyte.gz", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", 26421880, packed=True),
        RemoteFile("train-labels-idx1-ubyte.gz", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", 29515, packed=True),
        RemoteFile("t10k-images-idx3-ubyte.gz", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", 4422102, packed=True),
        RemoteFile("t10k-labels-idx1-ubyte.gz", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", 5148, packed=True),
    )
