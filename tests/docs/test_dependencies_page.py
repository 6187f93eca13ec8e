"""docs/dependencies.md gives a reason for every package, and a home that exists."""

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")


def installed() -> list[str]:
    """The packages that setup.cfg asks for, extras included."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    return re.findall(r"^([A-Za-z][\w.-]*)", "\n".join(listed), re.MULTILINE)


def test_every_package_has_its_reason() -> None:
    packages = installed()
    assert len(packages) > 20
    reasons, _, left_out = PAGE.partition("Left out")
    assert left_out
    assert [name for name in packages if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", reasons)] == []


def test_every_home_exists() -> None:
    homes = re.findall(r"`((?:data_prep|pipeline|launch|docs|tests|benchmarks)/[\w./-]*)`", PAGE)
    assert homes
    assert [home for home in homes if not (ROOT / home).exists()] == []
