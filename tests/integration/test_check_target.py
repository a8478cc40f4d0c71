"""`check-target`: the built-in corpus held against a platform's own word."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Run
from worker.core.corpus.corpus import corpus

EXAMPLE = Path(__file__).parents[2] / "docs" / "example-platform"
ENTRY_POINTS = "[flowshift.platform]\nacme = acme_platform:Acme\nbroken = acme_platform:engine\n"


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The example's command, found as an installed package is."""
    info = tmp_path / "acme-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.setenv("PYTHONPATH", f"{EXAMPLE}:{tmp_path}")
    return f"{sys.executable} -m acme_platform"


def changed(*lines: str) -> str:
    """The example's command, changed by lines of Python."""
    code = "\n".join(["from acme_platform import __main__, engine, validator", *lines])
    return shlex.join([sys.executable, "-c", f"{code}\n__main__.main()"])


@pytest.mark.parametrize("form", ["command", "entry point"])
def test_the_example_platform_agrees_with_every_draft_for_guide(
    flowshift: Run, monkeypatch: pytest.MonkeyPatch, acme: str, form: str
) -> None:
    word = acme if form == "command" else "python:acme"
    monkeypatch.setenv("FLOWSHIFT_PLATFORM_CHECK", word)
    monkeypatch.setenv("FLOWSHIFT_PLATFORM_ENGINE", word)

    code, out, err = flowshift("check-target", "--target", "guide", "--json")

    found = json.loads(out)
    assert (code, err, found["differences"]) == (0, "", [])
    assert [one["op"] for one in found["platform"]] == ["check", "execute"]
    assert {one["name"] for one in found["platform"]} == {"Acme 4.2"}
    assert sum(kind["workflows"] for kind in found["kinds"]) == len(corpus())


def test_a_platform_of_another_target_refuses_in_its_words(
    flowshift: Run, monkeypatch: pytest.MonkeyPatch, acme: str
) -> None:
    monkeypatch.setenv("FLOWSHIFT_PLATFORM_CHECK", acme)

    code, out, _ = flowshift("check-target", "--target", "answer", "--json")

    found = json.loads(out)
    assert code == 1
    assert len(found["differences"]) == len(corpus())
    assert {one["code"] for one in found["differences"]} == {"platform_refused"}
    assert "unknown type 'answer'" in found["differences"][0]["message"]


def test_an_engine_that_trims_once_more_is_found_by_what_it_differs_in(
    flowshift: Run, monkeypatch: pytest.MonkeyPatch, acme: str
) -> None:
    word = changed(
        "ask = engine._RUN['llm']",
        "def trimming(data, inputs, message, providers):",
        "    inputs = {port: ' '.join(text.split(' ')[:40]) for port, text in inputs.items()}",
        "    return ask(data, {**inputs, 'query': inputs['query'].strip()}, message, providers)",
        "engine._RUN['llm'] = trimming",
    )
    monkeypatch.setenv("FLOWSHIFT_PLATFORM_ENGINE", word)

    code, out, _ = flowshift("check-target", "--target", "guide")

    assert code == 1
    assert "parity_mismatch: on '   pad \\n\\n\\n\\n x  ': the platform's engine differs" in out
    assert "differ\n" in out


def test_without_a_platforms_word_it_says_what_it_asked_and_how_to_connect_one(
    flowshift: Run,
) -> None:
    code, out, _ = flowshift("check-target")

    flat = " ".join(out.split())
    assert code == 0
    assert "target guide: no column of answer is there" in flat
    assert "No word of the platform's is connected" in flat
    assert "Set FLOWSHIFT_PLATFORM_CHECK to its validator" in flat
    assert "nothing differs, says flowshift's own engines" in flat


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("no-such-program", "there is no program 'no-such-program' that can be run here"),
        ("python:absent", "LookupError: no installed package has an entry point 'absent'"),
        ("python:broken", "TypeError: the entry point 'broken' has no function check or execute"),
        (f"{sys.executable} -c exit(7)", "does not start: it exited with code 7"),
    ],
)
def test_a_platform_that_cannot_be_asked_is_a_wrong_setting(
    flowshift: Run, monkeypatch: pytest.MonkeyPatch, acme: str, word: str, said: str
) -> None:
    monkeypatch.setenv("FLOWSHIFT_PLATFORM_ENGINE", word)

    code, out, err = flowshift("check-target")

    assert (code, out) == (3, "")
    assert "FLOWSHIFT_PLATFORM_ENGINE: " in err
    assert said in err


def test_a_program_that_cannot_do_what_it_is_connected_for_is_a_wrong_setting(
    flowshift: Run, monkeypatch: pytest.MonkeyPatch, acme: str
) -> None:
    word = changed(
        "answer = __main__.answer",
        "__main__.answer = lambda r: {'ops': ['check']} if r['op'] == 'hello' else answer(r)",
    )
    monkeypatch.setenv("FLOWSHIFT_PLATFORM_ENGINE", word)

    code, _, err = flowshift("check-target")

    assert code == 3
    assert "cannot execute: it says that it can do check" in err


def test_it_needs_no_server(acme: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "worker", "check-target"],
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": f"{EXAMPLE}:{EXAMPLE.parents[1]}",
            "FLOWSHIFT_PLATFORM_CHECK": acme,
            "FLOWSHIFT_DATA_DIR": "/nowhere/at/all",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "target guide: no database was looked at" in ran.stdout
    assert ran.stdout.endswith("nothing differs, says the platform\n")
