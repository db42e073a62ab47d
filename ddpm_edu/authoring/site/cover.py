"""封面：书名、一张图、怎样读、各章各问什么"""
import html

from .frame import BOOK, frame
from .navigation import parts

PICTURE = "mnist_walk.png"
QUESTIONS = {
    0: "噪声怎样变成数字？", 1: "不看任何现成的程序，平面上的点怎样造得出来？", 2: "每一步掺多少噪声，凭什么定？",
    3: "为什么一步就能到？走到头，离纯噪声还差多少？", 4: "去噪的每一步又掺进去的噪声，补的是什么，该掺多少？",
    5: "网络猜噪声，猜原图，还是猜别的？同样大的错，公平吗？", 6: "损失从哪里来，各步该占多重，为什么实际上全取 1？",
    7: "网络不动，只换采样的办法，能不能画得更快、更准？", 8: "这个网络长什么样，每一块少了会怎样？", 9: "__init__ 里谁必须在谁之前，放错了会怎样？",
    10: "怎样训练，得到的数才信得过，两次才能比？", 11: "权重的平均为什么有用，要平均多少步？", 12: "学习率为什么要变，该怎样变？",
    13: "损失的曲线平了，怎样知道还要不要再练？", 14: "只花论文六千分之一的计算，画得离真图多远，计算省在哪里？",
    15: "三把尺子说得不一样，该信哪一个？", 16: "损失很低，样本却坏了，错在哪里？", 17: "先压缩再扩散，划算吗？",
    18: "后来的方法换掉了 DDPM 的什么，留下了什么？", 19: "论文的哪些结论可以照搬到自己的小模型上，哪些要自己重新量？",
    90: "这个记号、这个词是什么意思？", 91: "训练不对劲，先查哪里？", 92: "十二次课怎样上，成绩怎样给？",
    93: "书里的公式，一行一行落在代码的什么地方？",
}
COVER = """<div class="cover">
<h1>{book}</h1>
<p class="lead">带着学过 PyTorch、还没学过扩散模型的你，逐行读懂那个因 latent-diffusion 而出名的 DDPM 类。\
文字旁边就是真实的代码，公式由下一格代码当场验证。</p>
<figure><img src="pictures/{picture}" alt="从左到右，纯噪声一步一步变成手写的数字"></figure>
<p class="start"><a class="button" href="{first}.html">从第一课开始</a>
<a href="live.html">就在这里画一个</a> <a href="plane.html">平面上试试</a>
<a href="{first}.html#课程地图">课程地图</a> <a href="90_symbols_and_terms.html">符号与术语</a></p>
<p>先用<a href="{first}.html">一分钟</a>看一个扩散模型从训练到画出数字。第一部分讲原理，一章回答一个问题；第二部分逐行读源码，从构造函数到训练的一步；\
第三部分真的训练、评估，再去找十二个 bug；第四部分看后来的方法换掉了什么。\
着急的话，读 00 到 07 就能讲清楚 DDPM；手里有卡住的训练，直接查<a href="91_troubleshooting.html">排障手册</a>。</p>
{shelves}
</div>"""


def shelf(part, books):
    title = f"<h2>{html.escape(part)}</h2>" if part else "<h2>开场</h2>"
    rows = [f'<li><a href="{name}.html">{html.escape(title)}</a><p>{html.escape(QUESTIONS[int(name[:2])])}</p></li>' for name, title in books]
    return f"<section>{title}<ul>{''.join(rows)}</ul></section>"


def cover_body():
    shelves = parts()
    return COVER.format(book=BOOK, picture=PICTURE, first=shelves[0][1][0][0], shelves="".join(shelf(*each) for each in shelves))


def cover():
    """封面这一页的 HTML"""
    return frame(BOOK, cover_body(), "index.html")
