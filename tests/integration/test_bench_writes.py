"""What a bench changes of the server is put back."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from bench.writes import wal_kept

SET = sa.text(
    "SELECT setting FROM pg_file_settings"
    " WHERE name = 'wal_keep_size' AND sourcefile LIKE '%/postgresql.auto.conf'"
)


@pytest.mark.parametrize("before", [None, "7MB"])
def test_a_server_keeps_as_much_of_its_log_afterwards_as_before(
    admin: sa.Engine, before: str | None
) -> None:
    with admin.connect() as connection:
        if not connection.scalar(sa.text("SELECT usesuper FROM pg_user WHERE usename = USER")):
            pytest.skip("only a superuser may change a server's settings")
        change = "RESET wal_keep_size" if before is None else f"SET wal_keep_size = '{before}'"
        connection.execute(sa.text(f"ALTER SYSTEM {change}"))
        meanwhile = []

        def interrupted() -> None:
            with wal_kept(admin):
                meanwhile.append(connection.scalar(SET))
                raise KeyboardInterrupt

        try:
            with pytest.raises(KeyboardInterrupt):
                interrupted()
            assert meanwhile == ["20GB"]
            assert connection.scalar(SET) == before
        finally:
            connection.execute(sa.text("ALTER SYSTEM RESET wal_keep_size"))
            connection.execute(sa.text("SELECT pg_reload_conf()"))
