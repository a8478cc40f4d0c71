"""The tree of errors: families, default messages, and what each carries."""

from __future__ import annotations

import pytest

from worker import errors
from worker.errors import (
    BotError,
    BudgetSpentError,
    ChangedError,
    ConfigError,
    ConflictError,
    FlowshiftError,
    GivenUpError,
    LockedError,
    NotFoundError,
    NotYetError,
    ProviderError,
    QueueAwayError,
    SlowError,
    StaleError,
    TransientError,
    UsageError,
)

FAMILIES = (
    BotError,
    TransientError,
    StaleError,
    GivenUpError,
    NotYetError,
    ProviderError,
    BudgetSpentError,
    UsageError,
    ConfigError,
)
KINDS = (SlowError, LockedError, QueueAwayError, NotFoundError, ConflictError, ChangedError)
"""What a family is told apart by."""


def test_every_error_of_ours_belongs_to_exactly_one_family() -> None:
    ours = {
        error
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, Exception)
    }

    assert ours == {FlowshiftError, *FAMILIES, *KINDS}
    for family in FAMILIES:
        assert family.__bases__ == (FlowshiftError,)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FlowshiftError(), "flowshift could not do what was asked."),
        (BotError("cycle"), "This bot cannot be converted."),
        (TransientError(), "A server was unavailable or busy: the same work may succeed later."),
        (StaleError(), "The work was already done, or another worker does it."),
        (GivenUpError(), "The work was given up."),
        (NotYetError("max_rate"), "The work may not begin yet."),
        (ProviderError(), "No provider answered."),
        (BudgetSpentError(), "The budget is spent."),
        (UsageError(), "The request cannot be carried out as asked; nothing was started."),
        (ConfigError(), "A setting is missing or wrong."),
    ],
)
def test_the_first_line_of_its_docstring_is_an_errors_default_message(
    error: FlowshiftError, message: str
) -> None:
    assert str(error) == message


@pytest.mark.parametrize("family", [FlowshiftError, TransientError, StaleError, UsageError])
def test_a_message_that_is_given_is_the_message(family: type[FlowshiftError]) -> None:
    assert str(family("the moon was away")) == "the moon was away"


def test_a_bot_error_carries_its_code_and_the_codes_besides() -> None:
    error = BotError("cycle", "the edges form a cycle", also=("disconnected",))

    assert (error.code, error.also, str(error)) == (
        "cycle",
        ("disconnected",),
        "the edges form a cycle",
    )
    assert BotError("cycle").also == ()


def test_a_config_error_names_its_setting() -> None:
    error = ConfigError("it should be a number", setting="FLOWSHIFT_BATCH_SIZE")

    assert error.setting == "FLOWSHIFT_BATCH_SIZE"
    assert str(error) == "FLOWSHIFT_BATCH_SIZE: it should be a number"


def test_a_config_error_without_a_setting_is_its_message_alone() -> None:
    error = ConfigError("the data directory is in use")

    assert (error.setting, str(error)) == (None, "the data directory is in use")
