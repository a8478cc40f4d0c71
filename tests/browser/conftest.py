"""Chromium, where it is installed: Debian's package, headless, one for all tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx2 as httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Error, Page, sync_playwright

from tests.web import serving
from worker.runtime import Runtime

NAMES = ("chromium", "chromium-browser", "google-chrome")

REFUSED = "Failed to load resource: the server responded with a status of 4"

Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser; its tests are skipped where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def client(current: Runtime) -> Iterator[httpx.Client]:
    """The real server, and where it is."""
    with serving(current) as client:
        yield client


@pytest.fixture
def opened(chromium: Browser, client: httpx.Client) -> Open:
    """Open a window on the server; whatever the console says there, or a dialog, fails the test.

    Pages that are `refused` are meant to be: of their status the console may speak.
    """

    @contextmanager
    def window(*, refused: bool = False, **how: Any) -> Iterator[Page]:
        said: list[str] = []

        def heard(message: ConsoleMessage) -> None:
            if not (refused and message.text.startswith(REFUSED)):
                said.append(f"{message.type}: {message.text}")

        def failed(error: Error) -> None:
            said.append(f"error: {error}")

        def dismissed(dialog: Dialog) -> None:
            said.append(f"dialog: {dialog.message}")
            dialog.dismiss()

        with chromium.new_context(base_url=str(client.base_url), **how) as context:
            page = context.new_page()
            page.on("console", heard)
            page.on("pageerror", failed)
            page.on("dialog", dismissed)
            yield page
        assert said == []

    return window
