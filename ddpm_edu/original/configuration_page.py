"""配置的讲解：网页与 notebook"""
import html

from . import book, page
from .configuration import remarks
from .remarks import IN_SETTINGS


def summary(configuration, known):
    total = len(configuration.keys)
    return f"共 {total} 个键，讲了 {known} 个（{known / total:.0%}）。没有写的键用默认值；没有写 conditioning_key 时由 concat_mode 决定。"


def blocks(configuration, found):
    """[(第一行, 最后一行, 说明), ...]：没有说明的行归前面的那一格"""
    starts = sorted({1, *found})
    ends = [*(start - 1 for start in starts[1:]), len(configuration.lines)]
    return [(start, end, found.get(start, [])) for start, end in zip(starts, ends)]


def as_page(configuration, folder):
    """Configuration → 一页完整的 HTML"""
    found, known = remarks(configuration)
    plain = [html.escape(line) for line in configuration.lines]
    cells = "".join(f'<div class="code">{page.numbered(plain, start, end)}</div><div class="note">{"".join(page.say(r, folder) for r in notes)}</div>'
                    for start, end, notes in blocks(configuration, found))
    title = f"{configuration.name} 逐个键讲解"
    told = f"<p>{summary(configuration, known)}</p>"
    return page.whole_page(title, f'<h1>{html.escape(title)}</h1><p>{page.SECRET}</p>{told}{page.legend(IN_SETTINGS)}<div class="lesson">{cells}</div>{told}')


def as_notebook(configuration, folder):
    """Configuration → notebook 的文字"""
    found, known = remarks(configuration)
    lines = [f"- 第 {line} 行：{book.say(remark, folder)}" for line, notes in sorted(found.items()) for remark in notes]
    quoted = book.quoted(configuration.lines, 1, len(configuration.lines), "yaml")
    opening = f"# {configuration.name} 逐个键讲解\n\n{page.SECRET}\n\n{summary(configuration, known)}\n\n{book.legend(IN_SETTINGS)}"
    return book.notebook([opening, quoted, "\n".join(lines)])
