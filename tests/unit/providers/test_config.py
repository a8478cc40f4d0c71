"""The file of providers: what it holds, and how each mistake is told."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from worker.errors import ConfigError
from worker.providers.config import ProviderConfig, load

SECRET = "sk-somebodys-key"  # no real one


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "providers.toml"


def a_provider(*lines: str, name: str = "one", url: str = "http://models/v1") -> str:
    return "\n".join(["[[provider]]", f'name = "{name}"', f'base_url = "{url}"', *lines, ""])


def refused(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.setting == "FLOWSHIFT_PROVIDERS"
    assert SECRET not in str(caught.value)
    assert str(caught.value).startswith(f"FLOWSHIFT_PROVIDERS: {path}: ")
    return str(caught.value).removeprefix(f"FLOWSHIFT_PROVIDERS: {path}: ")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_the_file_may_come_from_any_editor(path: Path, encoding: str) -> None:
    path.write_bytes(a_provider('models = { "a" = "봇" }').replace("\n", "\r\n").encode(encoding))

    assert load(path).provider[0].models == {"a": "봇"}


def test_providers_are_read_in_order_with_everything_that_is_said_of_them(path: Path) -> None:
    path.write_text(
        a_provider(
            'api_key_env = "MY_KEY"',
            "timeout_s = 40",
            "connect_timeout_s = 2.5",
            "read_timeout_s = 20",
            "max_retries = 0",
            "input_price = 0.15",
            "output_price = 1",
            'max_tokens_key = "max_completion_tokens"',
            'models = { "gpt-4" = "large", "*" = "small" }',
        )
        + a_provider(name="two", url="https://[::1]:8443/openai/v1")
    )

    config = load(path)

    assert config.provider == (
        ProviderConfig(
            name="one",
            base_url="http://models/v1",
            api_key_env="MY_KEY",
            models={"gpt-4": "large", "*": "small"},
            timeout_s=40.0,
            connect_timeout_s=2.5,
            read_timeout_s=20.0,
            max_retries=0,
            input_price=Decimal("0.15"),
            output_price=Decimal(1),
            max_tokens_key="max_completion_tokens",
        ),
        ProviderConfig(name="two", base_url="https://[::1]:8443/openai/v1"),
    )


def test_a_model_without_a_name_of_its_own_keeps_the_workflows() -> None:
    one = ProviderConfig(name="one", base_url="http://h", models={"gpt-4": "large"})

    assert [one.model_for(model) for model in ("gpt-4", "gpt-5")] == ["large", "gpt-5"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            a_provider(f'api_key = "{SECRET}"'),
            "there is no key 'api_key' of provider 1; did you mean api_key_env?",
        ),
        (a_provider("retries = 3"), "there is no key 'retries' of provider 1"),
        (a_provider() + a_provider("timeout = 3"), "there is no key 'timeout' of provider 2; did"),
        ("[[providers]]\n", "there is no key 'providers'; did you mean provider?"),
        ("", "it names no provider: begin each with [[provider]]"),
        ("provider = []", "it names no provider: begin each with [[provider]]"),
        ("provider = 3", "it names no provider: begin each with [[provider]]"),
        ("provider = [3]", "provider 1 must be a table"),
        (
            "[[provider]]\nname = 'a'",
            "provider 1 needs base_url: a URL such as https://models.example/v1",
        ),
        (f"[[provider]\nkey = '{SECRET}'", "is no TOML: "),
        (b'name = "\xff"', "is not UTF-8: save it as UTF-8"),
        (b"\xff\xfea", "is not UTF-16: save it as UTF-8"),
        (
            a_provider(f'api_key_env = "{SECRET}"'),
            "api_key_env of provider 1 must be the name of an environment variable such as",
        ),
        (a_provider(name="A provider"), "name of provider 1 must be a name of at most 40"),
        (a_provider("models = 3"), "models of provider 1 must be a table that gives each model"),
        (a_provider("models = { a = 3 }"), "models of provider 1 must be a table"),
        (a_provider("input_price = []"), "input_price of provider 1 must be a number"),
        (a_provider(name="one") * 2, "two providers have the same name"),
        (
            a_provider("timeout_s = 0"),
            "timeout_s of provider 1 must be a number above 0 and at most 300",
        ),
        (a_provider("timeout_s = 301"), "must be a number above 0 and at most 300"),
        (a_provider("timeout_s = nan"), "must be a number above 0"),
        (a_provider("read_timeout_s = inf"), "must be a number above 0 and at most 300"),
        (
            a_provider("max_retries = 11"),
            "max_retries of provider 1 must be a whole number from 0 to 10",
        ),
        (a_provider("max_retries = -1"), "must be a whole number from 0 to 10"),
        (a_provider(f'max_tokens_key = "{SECRET}"'), "must be max_tokens or max_completion_tokens"),
        (
            a_provider("timeout_s = 200") + a_provider("timeout_s = 200", name="two"),
            "timeout_s of all providers together is 400; at most 300",
        ),
        (a_provider("input_price = 1"), "needs both input_price and output_price, or neither"),
        (a_provider("input_price = -1", "output_price = 1"), "has a price that is no number"),
        (a_provider("input_price = nan", "output_price = 1"), "has a price that is no number"),
        (a_provider(url="models.example/v1"), "no http:// or https:// URL"),
        (a_provider(url="ftp://models/v1"), "no http:// or https:// URL"),
        (a_provider(url="https://"), "no http:// or https:// URL"),
        (a_provider(url="http://models:port/v1"), "has a base_url that is no URL"),
        (a_provider(url=f"https://me:{SECRET}@models/v1"), "a key belongs into the environment"),
        (a_provider(url=f"https://models/v1?key={SECRET}"), "a key belongs into the environment"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_without_what_may_be_a_key(
    text: str | bytes, said: str, path: Path
) -> None:
    sentence = refused(path, text)

    assert said in sentence
    for word in ("Expected `", "regex", "`"):
        assert word not in sentence


def test_a_file_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        load(path)


def test_the_file_of_the_documentation_is_one(path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "live-models.md").read_text(
        encoding="utf-8"
    )
    (text,) = re.findall(r"```toml\n(\[\[provider\]\].*?)```", page, re.DOTALL)
    path.write_text(text)

    assert [one.name for one in load(path).provider] == ["primary", "spare"]
