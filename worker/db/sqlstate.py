"""PostgreSQL's five-character error codes (SQLSTATE) that we tell apart, each named once."""

from __future__ import annotations

from typing import Final

CANCELLED: Final = "57014"
"""A statement was cancelled: by its time-out, unless a person did it."""

LOCK_NOT_AVAILABLE: Final = "55P03"
"""The lock time-out, or NOWAIT."""

DEADLOCK: Final = "40P01"
INSUFFICIENT_PRIVILEGE: Final = "42501"
READ_ONLY: Final = "25006"
"""A read-only transaction: a failover that has not reached us yet."""

IDLE_FOR_TOO_LONG: Final = "25P03"
"""Idle in a transaction for too long: the server closed the connection, for us to let rows go."""

TRANSACTION_FOR_TOO_LONG: Final = "25P04"
ROLLED_BACK: Final = "40000"
SERIALIZATION_FAILURE: Final = "40001"
COMPLETION_UNKNOWN: Final = "40003"
SYSTEM_ERROR: Final = "58000"
INPUT_OUTPUT_ERROR: Final = "58030"
SNAPSHOT_TOO_OLD: Final = "72000"

FOREIGN_KEY_VIOLATION: Final = "23503"
DEPENDENTS_EXIST: Final = "2BP01"
"""Something else depends on what was to be dropped."""

NOT_IN_THIS_STATE: Final = "55000"
NOT_SUPPORTED: Final = "0A000"
NO_SUCH_TABLE: Final = "42P01"
NO_SUCH_COLUMN: Final = "42703"
NO_SUCH_SCHEMA: Final = "3F000"

LOCKED: Final = frozenset({LOCK_NOT_AVAILABLE, DEADLOCK})
"""Another session held what was needed."""
