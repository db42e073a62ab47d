"""条件编码器：几个词 → 几个向量，给 U-Net 的交叉注意力"""
import torch
from torch import nn

from ..checks import check_int, fail


class WordEmbedder(nn.Module):
    """词号 (B,) 或 (B, L) → 向量 (B, length, embed_dim)；每个词一个学出来的向量

    words     : 词表，不重复的字符串；第 k 个词的号码是 k + 1，0 留给“没有说”，它也有自己的向量
    embed_dim : 就是 U-Net 的 context_dim；length：一句最多几个词，不足的补 0
    异常      : 词表不对、词号越界、一句太长时 ValueError
    """

    def __init__(self, words, embed_dim, length=2):
        super().__init__()
        if not isinstance(words, (list, tuple)) or not words or len(set(map(str, words))) < len(words):
            fail("words", "非空、不重复的词的列表", words)
        self.words, self.length = [str(word) for word in words], check_int("length", length, 1)
        self.embedding = nn.Embedding(len(words) + 1, check_int("embed_dim", embed_dim, 1))

    def encode(self, sentences):
        """["粗 3", "7"] → (B, length) int64 的词号；词与词之间空一格，没有的词 ValueError"""
        numbers = torch.zeros(len(sentences), self.length, dtype=torch.int64)
        for row, sentence in enumerate(sentences):
            said = sentence.split()
            if unknown := [word for word in said if word not in self.words]:
                fail("词", f" {' / '.join(self.words)} 之一", unknown[0])
            if len(said) > self.length:
                fail("一句话", f"至多 {self.length} 个词", sentence)
            # 按词表的次序排：“粗 3”与“3 粗”是同一句
            numbers[row, :len(said)] = torch.tensor(sorted(1 + self.words.index(word) for word in said))
        return numbers

    def forward(self, numbers):
        numbers = numbers.reshape(len(numbers), -1)
        if numbers.shape[1] > self.length:
            fail("词号", f"形状 (B,) 或 (B, ≤ {self.length}) 的整数张量", tuple(numbers.shape))
        # 在 GPU 上看一眼要等设备
        odd = numbers.device.type == "cpu" and ((numbers < 0) | (numbers > len(self.words))).any()
        if odd:
            fail("词号", f" 0..{len(self.words)} 的整数（0 是没有说）", numbers.tolist(), "词表见 words")
        return self.embedding(nn.functional.pad(numbers, (0, self.length - numbers.shape[1])))
