"""Imports go one way, and each big library has one home (docs/decisions/0002)."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("launch", "pipeline", "data_prep")

# What each package may import of ours. data_prep's bottom layer is open to all.
ALLOWED = {
    "data_prep": ("data_prep",),
    "pipeline": (
        "pipeline",
        "data_prep.columns.origin",
        "data_prep.config",
        "data_prep.errors",
        "data_prep.native",
        "data_prep.pages",
        "data_prep.section",
        "data_prep.shards",
        "data_prep.sources.storage",
        "data_prep.tokenizer",
    ),
    "launch": ("launch", "pipeline", "data_prep"),
}
HOMES = {
    "ray": ("data_prep/driver.py", "launch/ray_cluster.py"),
    "deepspeed": ("pipeline/training/engine.py", "pipeline/checkpoint/"),
    "tarfile": ("data_prep/sources/html.py",),
    "webdataset": ("data_prep/shards/",),
    "transformers": ("pipeline/export/",),
    "torch.utils.tensorboard": ("pipeline/training/reports/tensorboard.py",),
    "torch": ("pipeline/", "launch/doctor.py"),
    "ruamel": ("pipeline/config_files.py",),
    "sentencepiece": ("data_prep/tokenizer/", "data_prep/plan.py", "data_prep/tasks/"),
    "rensa": ("data_prep/stages/duplicates/minhash.py",),
    "scipy": ("data_prep/stages/duplicates/components.py", "pipeline/evaluation/intervals.py"),
    "bm25s": ("pipeline/evaluation/",),
    "ftfy": ("data_prep/stages/rules/repair.py",),
    "py3langid": ("data_prep/stages/language.py",),
    "icu4py": ("data_prep/columns/icu.py",),
    "triton": ("pipeline/kernels/",),
    "torchao": ("pipeline/model/float8.py",),
    "liger_kernel": ("pipeline/kernels/cross_entropy/liger.py",),
    "fsspec": ("data_prep/sources/storage.py",),
    "pyarrow": ("data_prep/sources/", "data_prep/documents.py"),
    "orjson": ("data_prep/sources/jsonl.py", "data_prep/documents.py"),
    "fastwarc": ("data_prep/sources/warc.py",),
    "resiliparse": ("data_prep/sources/page.py",),
    "jinja2": ("data_prep/pages/",),
    "matplotlib": ("data_prep/pages/charts.py", "pipeline/export/model_card.py"),
    "markupsafe": ("data_prep/pages/", "launch/report/"),
}
# The first two are for others to read our shards with; export imports the third by name, where it is installed.
UNUSED = ("tarfile", "webdataset", "transformers")
FORBIDDEN_MODULES = ("pickle", "dill", "cloudpickle", "marshal", "shelve", "yaml")
# On the left what is written, on the right why nobody needs it.
FORBIDDEN_TEXT = {
    "shell=True": "arguments are lists",
    "weights_only=False": "it unpickles",
    "extractall(": "archives are read in place",
    "yaml.load(": "ruamel's safe loader in pipeline/config_files.py",
}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@functools.cache
def imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    files = sources(package)
    assert files
    for path in files:
        for name in imported(path):
            if within(name, PACKAGES):
                assert within(name, ALLOWED[package]), f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("library", HOMES)
def test_each_big_library_has_one_home(library: str) -> None:
    users = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in sources(package)
        for name in imported(path)
        if within(name, (library,))
    }
    assert users or library in UNUSED, f"nothing imports {library}: take it from setup.cfg"
    strangers = {user for user in users if not user.startswith(HOMES[library])}
    assert not strangers


def test_nothing_can_unpickle_or_run_a_shell() -> None:
    for package in PACKAGES:
        for path in sources(package):
            names = imported(path)
            assert not [name for name in names if within(name, FORBIDDEN_MODULES)], path
            text = path.read_text(encoding="utf-8")
            allowed = {"yaml.load("} if path == ROOT / "pipeline" / "config_files.py" else set()
            assert not [bad for bad in FORBIDDEN_TEXT if bad in text and bad not in allowed], path


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("pipeline", ("ray", "triton", "deepspeed", "transformers")),
        ("pipeline.config", ("ray", "deepspeed", "transformers")),
        ("data_prep.driver", ("torch",)),
        ("launch.cli", ("torch", "ray", "deepspeed", "transformers")),
    ],
)
def test_importing_a_module_does_not_load_heavy_libraries(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
