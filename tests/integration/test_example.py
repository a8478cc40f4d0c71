"""The example of node types of one's own: a package beside flowshift, and no part of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.builders import lines, mapped, node

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "example-nodes"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example is installed, by pip, from what is here."""
    made = tmp_path_factory.mktemp("example")
    source = shutil.copytree(EXAMPLE, made / "source", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *(
                "--no-index",
                "--no-deps",
                "--no-build-isolation",
                "--target",
                made / "there",
                source,
            ),
        ],
        check=True,
    )
    return made / "there"


def flowshift(command: str, installed: Path | None) -> tuple[int, list[dict[str, Any]]]:
    """Run a command on the example's lines: its exit code, and the lines that came out."""
    path = {"PYTHONPATH": str(installed)} if installed else {}
    ran = subprocess.run(
        [sys.executable, "-m", "worker", command, EXAMPLE / "try.jsonl"],
        cwd=ROOT,
        env={**os.environ, **path},
        capture_output=True,
        check=False,
    )
    assert ran.stderr == b""
    return ran.returncode, [json.loads(line) for line in ran.stdout.splitlines()]


def test_its_types_are_executed_where_it_is_installed(installed: Path) -> None:
    code, [v1, v2] = flowshift("trace", installed)

    assert code == 0
    assert v1["parity"] is True
    assert v1["v1"]["answer"] == (
        "gpt-4o-mini: 환불은 7일 안에 됩니다.\n\n[rules#0] 환불 되나요?\n\n환불 되나요?"
    )
    assert v2["v2"]["answer"] == "My card is **************56."


def test_its_types_are_converted_where_it_is_installed(installed: Path) -> None:
    _, [converted, _] = flowshift("convert", installed)

    assert converted["outcome"] == "converted"
    graph = converted["graph"]
    assert node(graph, "faq")["type"] == "faq"
    assert mapped(graph, "faq") == {"question": "start.query"}
    assert mapped(graph, "text-join-1") == {"text_1": "faq.text", "text_2": "rules.context"}
    assert lines(graph)[0] == "start.query -> faq.question"


def test_elsewhere_its_types_are_unknown() -> None:
    code, [v1, v2] = flowshift("trace", None)

    assert code == 1
    assert v1["v1"]["error"].startswith("unknown_node_type: node 'faq' has the unknown type")
    assert v2["v2"]["error"].endswith("no node type 'mask-numbers' is registered")


def test_nothing_of_it_is_in_flowshifts_own_packages(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", tmp_path], cwd=ROOT, check=True
    )
    (sdist,), (wheel,) = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")
    with tarfile.open(sdist) as archive:
        packed = archive.getnames()
    with zipfile.ZipFile(wheel) as archive_of_wheel:
        packed += archive_of_wheel.namelist()

    assert any(name.endswith("worker/nodes.py") for name in packed)
    assert [name for name in packed if "example" in name or "/docs" in name] == []
