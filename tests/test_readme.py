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


def test_every_path_the_readme_names_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links and all((ROOT / link).exists() for link in links), links


def test_no_file_grows_far_beyond_350_lines():
    long = {p.name: n for p in (ROOT / "ddpm_edu").rglob("*.py") if (n := len(p.read_text(encoding="utf-8").splitlines())) > 370}
    assert not long
