"""What is typed behind a command: refused in one sentence where no column could hold it."""

from __future__ import annotations

from collections.abc import Iterator

import click
import click.testing
import pytest

from worker.cli import cli
from worker.cli.arguments import MOST, RUN, TEXT, Number, Whole

NO_COLUMN = {"--max-money"}
"""Texts that are read here and go no further."""


def parameters(group: click.Group) -> Iterator[tuple[str, click.Parameter]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from parameters(command)
        yield from ((name, parameter) for parameter in command.params)


def test_every_text_and_every_run_is_judged_where_it_is_typed() -> None:
    for command, parameter in parameters(cli):
        if isinstance(parameter.type, type(click.STRING)) and not {*parameter.opts} & NO_COLUMN:
            assert parameter.name == "validate", (command, parameter.opts)  # read by its own rule
        if parameter.name == "run_id":
            assert parameter.type is RUN, command


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "-1",
        "99999999999999999999",
        "9223372036854775808",
        "1.5",
        "١",
        "true",
        "1\0",
        "x" * 5000,
        "",
    ],
)
def test_what_is_no_run_is_refused_with_a_sentence(value: str) -> None:
    with pytest.raises(click.BadParameter, match="is not the number of a run"):
        RUN.convert(value, None, None)


def test_the_largest_number_is_a_run() -> None:
    assert RUN.convert("9223372036854775807", None, None) == 2**63 - 1


@pytest.mark.parametrize(("value", "why"), [("a\0", "NUL"), ("\udcff", "half of a surrogate pair")])
def test_a_text_that_no_column_holds_is_refused_with_a_sentence(value: str, why: str) -> None:
    with pytest.raises(click.BadParameter, match=why):
        TEXT.convert(value, None, None)


NUMBERS = [
    (command, parameter)
    for command, parameter in parameters(cli)
    if isinstance(parameter.type, type(click.INT) | type(click.FLOAT))
]
numbers = pytest.mark.parametrize(
    ("command", "option"), NUMBERS, ids=[f"{command} {one.opts[-1]}" for command, one in NUMBERS]
)


def test_there_are_numbers_to_walk_over() -> None:
    assert len(NUMBERS) > 15


@numbers
@pytest.mark.parametrize(
    "value",
    [
        "99999999999999999999999",
        "9223372036854775807",
        "9" * 5000,
        "1e400",
        "1e999999999",
        "-1",
        "NaN",
        "inf",
        "-inf",
        "",
        " ",
        "٣",
        "¹",
        "1_0",
        "0x10",
        "1,5",
        "true",
        "1 0",
        "\x1b[2J",
        "1\0",
        "\udc80",
    ],
)
def test_every_number_option_refuses_what_is_no_number_of_its_range(
    command: str, option: click.Parameter, value: str
) -> None:
    assert isinstance(option.type, Whole | Number), command
    with pytest.raises(
        click.BadParameter, match=r"is not a (whole )?number from [\d.]+ to [\d,]+$"
    ):
        option.type.convert(value, option, None)


@numbers
def test_every_number_option_takes_both_ends_of_its_range(
    command: str, option: click.Parameter
) -> None:
    assert isinstance(option.type, Whole | Number), command
    for end in (option.type.min, option.type.max or MOST):
        assert option.type.convert(f" {end} ", option, None) == end


@pytest.mark.parametrize(("value", "number"), [("1", 1), (".5", 0.5), ("5e-1", 0.5), ("1.", 1)])
def test_a_number_may_have_decimals(value: str, number: float) -> None:
    assert Number(0, 1).convert(value, None, None) == number
