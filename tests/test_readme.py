"""说明文字不许与代码脱节"""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_defect_has_a_test_that_exists():
    table = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|.*`(test_\w+)` \|$", table, re.M)
    assert [int(n) for n, _ in rows] == list(range(1, 37))
    code = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").glob("test_*.py"))
    missing = [name for _, name in rows if f"def {name}(" not in code]
    assert not missing


def test_every_public_name_of_the_contract_is_importable():
    import ddpm_edu

    names = ("DDPM DiffusionWrapper LitEma UNet count_params instantiate_from_config make_beta_schedule "
             "LambdaWarmUpCosineScheduler LambdaWarmUpCosineScheduler2 LambdaLinearScheduler DigitsDataModule "
             "MNISTDataModule CIFAR10DataModule").split()
    assert all(getattr(ddpm_edu, name) for name in names) and set(names) <= set(dir(ddpm_edu))


def test_every_path_the_pages_name_exists():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]
    links = {page: [link for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")) if "://" not in link] for page in pages}
    assert len(links[ROOT / "README.md"]) > 30 and not [(page.name, link) for page in pages for link in links[page] if not (page.parent / link).exists()]
    # 每一页都有路可走
    reached = {(page.parent / link).resolve() for page in pages for link in links[page]}
    assert set(pages[1:]) <= reached


def test_the_first_screen_is_a_picture_three_sentences_and_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = text.partition("\n## ")[0]
    assert re.match(r"# .+\n\n!\[.+\]\(ddpm_edu/pretrained/mnist_walk\.png\)\n\n([^\n]+。\n){3}\n```bash\n", first)
    assert re.findall(r"^python .+$", first, re.M) == [
        "python course.py lab     # 建好环境，用中文界面打开 JupyterLab 的第一课", "python course.py test    # 建好环境，跑全部测试"]
    assert "`python course.py export`" in first and len(first.splitlines()) <= 30


def test_every_command_of_course_py_that_a_page_names_exists():
    usage = (ROOT / "course.py").read_text(encoding="utf-8").split('"""')[1]
    known = set(re.findall(r"^python course\.py (\w+)", usage, re.M))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    named = {name for page in pages for name in re.findall(r"course\.py (\w+)", page.read_text(encoding="utf-8"))}
    assert {"lab", "test", "doctor", "export", "build"} <= named <= known


def test_no_file_grows_far_beyond_350_lines():
    long = {p.name: n for p in (ROOT / "ddpm_edu").rglob("*.py") if (n := len(p.read_text(encoding="utf-8").splitlines())) > 370}
    assert not long
