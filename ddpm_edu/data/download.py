"""下载：逐个镜像尝试，摘要对上才放到最终的名字；也可以自己把文件放进目录"""
import os
from pathlib import Path

MIRROR_VARIABLE = "DDPM_EDU_MIRROR"


class DataUnavailableError(RuntimeError):
    """数据取不到：写明试过的地址、文件该放哪里、没有网络时的出路"""


def fetch(root, filename, md5, mirrors, mirror=None, progress=True):
    """取得 root/filename，内容的 MD5 必须等于 md5

    mirrors : 依次尝试的网址前缀；mirror 或环境变量 DDPM_EDU_MIRROR 给出时最先试
    返回    : 本地路径
    异常    : 全都不成时 DataUnavailableError，最终的名字下不会留下坏文件
    """
    import pooch

    root = Path(root).expanduser()
    target = root / filename
    if target.exists() and pooch.file_hash(str(target), alg="md5") == md5:
        return target
    own = mirror or os.environ.get(MIRROR_VARIABLE)
    tried = []
    for base in ([own] if own else []) + list(mirrors):
        url = f"{base.rstrip('/')}/{filename}"
        downloader = pooch.HTTPDownloader(progressbar=progress, timeout=20)
        try:
            return Path(pooch.retrieve(url, f"md5:{md5}", filename, root, downloader=downloader))
        except Exception as error:
            tried.append(f"  {url}：{str(error).splitlines()[0][:150]}")
    raise DataUnavailableError(
        "下面的地址都没有取到正确的文件：\n" + "\n".join(tried)
        + f"\n请手工下载 {filename}（MD5 应为 {md5}），放到 {target}；"
        + f"或用环境变量 {MIRROR_VARIABLE} 指定镜像；没有网络时可先用内置的 DigitsDataModule"
    )
