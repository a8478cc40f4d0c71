"""A terminal or locale whose encoding lacks what names are made of."""

from __future__ import annotations

import io
import sys

import pytest

from worker import __main__


def test_a_name_that_the_encoding_lacks_is_shown_in_escapes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    octets = io.BytesIO()
    out = io.TextIOWrapper(octets, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "argv", ["flowshift", "--version"])

    with pytest.raises(SystemExit):
        __main__.main()
    out.write("봇")
    out.flush()

    assert octets.getvalue().endswith(b"\\ubd07")
