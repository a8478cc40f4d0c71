"""Which revisions of the schema this version of flowshift knows.

Read from the migrations' file names, which `tests/unit/test_known_revisions.py` holds against Alembic's
word: every command asks, and Alembic would load all of them, and itself.
"""

from __future__ import annotations

import pkgutil

from migrations import versions
from worker.db.schema.revision import Revisions


def revisions() -> Revisions:
    """Every revision that this version of flowshift has a migration for, and the newest."""
    known = [module.name.partition("_")[0] for module in pkgutil.iter_modules(versions.__path__)]
    return Revisions(max(known), frozenset(known))


def head() -> str:
    """The newest revision that this version of flowshift knows."""
    return revisions().newest
