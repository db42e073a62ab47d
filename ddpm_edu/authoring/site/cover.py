"""封面：书名、一张图、怎样读、各章各问什么"""
import html

from ..questions import QUESTIONS
from .frame import BOOK, frame
from .navigation import parts

PICTURE = "mnist_walk.png"
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
    rows = [f'<li><a href="{name}.html">{html.escape(title)}</a><p>{html.escape(QUESTIONS[int(name[:2])].replace("`", ""))}</p></li>' for name, title in books]
    return f"<section>{title}<ul>{''.join(rows)}</ul></section>"


def cover_body():
    shelves = parts()
    return COVER.format(book=BOOK, picture=PICTURE, first=shelves[0][1][0][0], shelves="".join(shelf(*each) for each in shelves))


def cover():
    """封面这一页的 HTML"""
    return frame(BOOK, cover_body(), "index.html")
