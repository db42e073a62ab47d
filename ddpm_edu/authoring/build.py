"""由 notebooks/src/*.py 生成并执行 notebook：python -m ddpm_edu.authoring.build [--solutions | --text] [名字 ...]

--solutions : 生成带答案的版本，放在 notebooks/solutions/，不进版本库
--text      : 代码一字未改时，只换文字与链接，沿用存好的输出，不执行
"""
import os
import re
import sys
import time

from ..teach.books import NOTEBOOKS, cell_ids, navigation, resolve, sources, tie
from ..teach.explained import displays
from .coverage import CoverageTable
from .editions import solutions_edition, student_edition
from .hosting import METADATA, TAG, first_cell, open_links, repository

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
# 源文件里写在哪里，生成时就在那里换成课程的覆盖表：写成文字，停下、重启都还在
COURSE_MAP = "{课程地图}"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def read_source(path, edition=student_edition):
    """percent 格式的 .py → 未执行的 notebook，首尾加上导航，第一格代码之前加上云端用的一格

    edition : 改写每个单元的函数，见 editions.py
    """
    import jupytext
    import nbformat

    notebook = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    views, shown, blocks = {index: view for view, _, index in displays(path)}, "", []
    for index, (cell, cell.id) in enumerate(zip(notebook.cells, cell_ids(path), strict=True)):
        cell.source = edition(cell.source)
        # 展示源码的那一格，输入折叠起来：要读的是输出
        hidden = cell.cell_type == "code" and cell.source.startswith("show_source(")
        cell.metadata = nbformat.from_dict({"jupyter": {"source_hidden": True}} if hidden else {})
        if index in views:
            shown, blocks = cell.id, [[line for _, line in block] for _, block in views[index].blocks()]
        if cell.cell_type == "markdown":
            cell.source = tie(resolve(path, join_sentences(cell.source)), shown, blocks)
        if COURSE_MAP in cell.source:
            cell.source = cell.source.replace(COURSE_MAP, CoverageTable().markdown())
    top, bottom = (nbformat.v4.new_markdown_cell(text, id=name) for name, text in zip(("nav-top", "nav-bottom"), navigation(path)))
    if path.stem.startswith("00_") and (links := open_links(repository())):
        top.source += f"\n\n{links}"
    first = next(place for place, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    notebook.cells.insert(first, nbformat.v4.new_code_cell(first_cell(repository()), id=TAG, metadata=METADATA))
    notebook.cells = [top, *notebook.cells, bottom]
    return notebook


def join_sentences(text):
    """源文件一句一行；中文句子之间不留空格，所以同一段的几行要连起来"""
    return re.sub(r"(?<=[。；：，、！？”）])\n(?![\n\-|#>]|\$\$|\d+\. )", "", text)


def execute(notebook):
    """从头执行，去掉与内容无关的东西：时间、面板的临时编号"""
    from nbclient import NotebookClient

    NotebookClient(notebook, timeout=600, kernel_name="python3", record_timing=False, coalesce_streams=True,
                   resources={"metadata": {"path": str(NOTEBOOKS)}}).execute(env={**os.environ, "DDPM_EDU_NO_RECORD": "1", "TQDM_DISABLE": "1"})
    # 显示一个对象时出的错，nbclient 不当作出错
    for output in [output for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "error"]:
        raise RuntimeError(f"显示输出时出错，没有写 notebook：{output.ename}: {output.evalue}")
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if is_lasting(cell, output)]
        for output in cell.get("outputs", []):
            # 面板留下静态图，重新运行之后才有滑块
            output.get("data", {}).pop(WIDGET_VIEW, None)
            if "metadata" in output:
                output.metadata = {kind: size for kind, size in output.metadata.items() if kind == "image/png"}
    return notebook


def is_lasting(cell, output):
    """Lightning 印的机器的情形（stderr）只属于运行的那一刻，不存"""
    return output.get("name") != "stderr" or "NBVAL_IGNORE_OUTPUT" not in cell.source


def build(path, solutions=False):
    import nbformat

    started = time.perf_counter()
    notebook = execute(read_source(path, solutions_edition if solutions else student_edition))
    target = NOTEBOOKS / "solutions" / f"{path.stem}.ipynb" if solutions else NOTEBOOKS / f"{path.stem}.ipynb"
    target.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, target)
    print(f"{target.name}：{len(notebook.cells)} 个单元，{time.perf_counter() - started:.0f} 秒", flush=True)


def rewrite(path):
    """只换文字与链接；代码改过时不写，退出并说要执行"""
    import nbformat

    target = NOTEBOOKS / f"{path.stem}.ipynb"
    fresh, stored = read_source(path), nbformat.read(target, as_version=4)
    outputs = {cell.source: cell for cell in stored.cells if cell.cell_type == "code"}
    code = [cell for cell in fresh.cells if cell.cell_type == "code"]
    if changed := [cell.source for cell in code if cell.source not in outputs and cell.id != TAG]:
        sys.exit(f"{target.name} 的代码改过，要执行：python course.py build {path.stem}；第一处是 {changed[0].splitlines()[0]!r}")
    for count, cell in enumerate(code, 1):
        cell.execution_count = count
        if cell.source in outputs:
            cell.outputs = outputs[cell.source].outputs
    fresh.metadata = stored.metadata
    nbformat.write(fresh, target)
    print(f"{target.name}：只换了文字", flush=True)


def main(arguments):
    options = ("--solutions", "--text")
    names = [argument for argument in arguments if argument not in options]
    chosen = [path for path in sources() if not names or any(path.stem.startswith(name) for name in names)]
    if not chosen:
        sys.exit(f"没有匹配 {names} 的 notebook；有的是 {[path.stem for path in sources()]}")
    for path in chosen:
        rewrite(path) if "--text" in arguments else build(path, solutions="--solutions" in arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
