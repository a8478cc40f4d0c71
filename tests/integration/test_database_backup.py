"""`flowshift backup` and `backup verify` on real PostgreSQL: what comes back, and what never may."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import sqlalchemy as sa

from migrations import upgrade
from tests import platforms
from tests.fleet import Fleet, a_workflow
from tests.integration.conftest import Run
from tests.integration.test_migrations import an_engine
from tests.live import eventually
from tests.roles import Role
from tests.tools import tools
from worker.core.backup.manifest import BOTS, DUMP, MANIFEST
from worker.db.database_backups.content import count_table
from worker.db.database_backups.snapshot import open_snapshot, patient_engine
from worker.settings import Settings
from worker.steps.backup import take as step
from worker.steps.backup.recent import need_recent_backup

Switch = Callable[[], None]

HARD = "봇 \"'\\\t☃"


@pytest.fixture
def filled(fleet: Fleet) -> Fleet:
    """Twelve bots: eleven are converted and executed, one of them with content that is hard to carry."""
    fleet.add_many(10)
    fleet.add(HARD, a_workflow("한국어 \\u0001 {context} 😀"))
    fleet.add("none", None)
    fleet.run(validate="all")
    return fleet


def backed_up(flowshift: Run, target: Path, *options: str) -> dict[str, Any]:
    code, out, err = flowshift("backup", str(target), "--json", *options)
    assert code == 0, err
    manifest: dict[str, Any] = json.loads(out)["manifest"]
    return manifest


def verified(flowshift: Run, target: Path, *options: str, code: int = 0) -> dict[str, Any]:
    was, out, err = flowshift("backup", "verify", str(target), "--json", *options)
    assert was == code, err + out
    found: dict[str, Any] = json.loads(out)
    return found


def databases(fleet: Fleet) -> list[str]:
    """The scratch databases that nobody has dropped."""
    rows = fleet.rows(
        "SELECT datname FROM pg_database WHERE starts_with(datname, 'flowshift_verify_')"
    )
    return [name for (name,) in rows]


def left(parent: Path) -> list[str]:
    return sorted(path.name for path in parent.iterdir() if "backup" in path.name)


# -- what comes back -------------------------------------------------------------------------------


def test_a_backup_comes_back_as_it_was_and_is_on_record(
    flowshift: Run, filled: Fleet, tmp_path: Path
) -> None:
    target = tmp_path / "monday"
    before = databases(filled)
    manifest = backed_up(flowshift, target)
    found = verified(flowshift, target)

    assert (found["is_whole"], found["notes"], found["on_record"]) == (True, [], True)
    assert databases(filled) == before
    for table in manifest["tables"]:
        rows = filled.rows(f"SELECT count(*) FROM {table['schema']}.{table['name']}")[0][0]
        was = table["rows"] + (2 if table["name"] == "audit" else 0)
        assert was + (table["name"] == "database_backups") == rows, table["name"]
    assert manifest["bots"] == 12
    assert (
        manifest["revision"]
        == filled.rows("SELECT version_num FROM flowshift.alembic_version")[0][0]
    )
    with filled.engine.connect() as connection:
        assert need_recent_backup(connection, "").directory == "monday"
    trail = filled.rows(
        "SELECT action, reason FROM flowshift.audit WHERE action LIKE 'backup.%' ORDER BY id"
    )
    assert [tuple(row) for row in trail] == [
        ("backup.taken", "monday"),
        ("backup.verified", "monday"),
    ]


def test_only_its_owner_can_read_it(flowshift: Run, filled: Fleet, tmp_path: Path) -> None:
    target = tmp_path / "monday"
    old = os.umask(0)
    try:
        backed_up(flowshift, target)
    finally:
        os.umask(old)

    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    modes = {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in target.iterdir()}
    assert modes == {MANIFEST: "0o600", DUMP: "0o600", BOTS: "0o600"}


def test_what_changes_while_it_is_taken_is_not_in_it(
    flowshift: Run, filled: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hashes and the dump are of one moment."""
    real = step._dump

    def later(*given: Any) -> Any:
        filled.change("bot-00003", a_workflow("changed"))
        filled.execute("DELETE FROM bots WHERE bot_id = 'bot-00004'")
        filled.add("new", a_workflow())
        return real(*given)

    monkeypatch.setattr(step, "_dump", later)
    assert backed_up(flowshift, tmp_path / "monday")["bots"] == 12

    assert verified(flowshift, tmp_path / "monday")["is_whole"]


def test_nothing_is_rewritten_or_emptied_under_a_snapshot_and_rows_go_on_changing(
    filled: Fleet, settings: Settings
) -> None:
    engine = patient_engine(settings.database_url, lock_timeout_ms=1_000)
    with open_snapshot(engine) as snapshot, filled.connect() as platform:
        platform.execute("SET lock_timeout = '200ms'")
        for statement in (
            "TRUNCATE workflow_node_executions",
            "ALTER TABLE bots ADD x int DEFAULT 1",
        ):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                platform.execute(statement)
            platform.rollback()
            platform.execute("SET lock_timeout = '200ms'")
        platform.execute("DELETE FROM workflow_node_executions")
        platform.commit()
        nodes = next(one for one in snapshot.sources if one.name == "workflow_node_executions")
        assert count_table(snapshot.connection, nodes).rows > 0
    engine.dispose()


def test_executions_can_be_left_out_and_the_manifest_says_so(
    flowshift: Run, filled: Fleet, tmp_path: Path
) -> None:
    manifest = backed_up(flowshift, tmp_path / "monday", "--without-executions")

    assert manifest["with_executions"] is False
    out = {table["name"]: table["rows"] for table in manifest["tables"] if table["is_left_out"]}
    assert out == {"workflow_execution_runs": 0, "workflow_node_executions": 0}
    assert filled.rows("SELECT count(*) FROM workflow_execution_runs")[0][0] > 0
    found = verified(flowshift, tmp_path / "monday")
    assert found["is_whole"]
    _, out_text, _ = flowshift("backup", "verify", str(tmp_path / "monday"))
    assert f"{len(manifest['tables']) - 2} tables, 12 bots" in out_text


PLATFORM = """
    CREATE SCHEMA kinds;
    CREATE TYPE kinds."Version Status" AS ENUM ('draft', 'published', 'archived');
    CREATE DOMAIN kinds.name AS varchar(50) CHECK (value <> '');
    CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
"""


def test_a_platform_with_types_and_triggers_of_its_own_comes_back(
    settings: Settings,
    empty_database: str,
    flowshift: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", empty_database)
    with an_engine(empty_database) as engine:
        platforms.make(
            engine,
            before=PLATFORM,
            bots=5,
            bot_id="kinds.name NOT NULL UNIQUE",
            version_status='kinds."Version Status"',
        )
        platforms.script(
            engine,
            "ALTER TABLE bots ADD shout text GENERATED ALWAYS AS (upper(name)) STORED,"
            " ADD tags text[] DEFAULT '{a,NULL,\"b c\"}'",
            "CREATE TRIGGER touch BEFORE UPDATE ON bots FOR EACH ROW EXECUTE FUNCTION touch()",
            "ALTER TABLE bots ENABLE ROW LEVEL SECURITY",
            "INSERT INTO bot_workflow_versions (id, bot_id, version, status, graph)"
            " SELECT gen_random_uuid(), bot_id, 'draft', 'draft', '{\"n\": 1.10}' FROM bots",
        )
    backed_up(flowshift, tmp_path / "monday")

    found = verified(flowshift, tmp_path / "monday")
    assert found["is_whole"], found
    said = " ".join(found["notes"])
    assert "public.bot_workflow_versions was restored with plain columns" in said
    assert 'relation "public.users" does not exist' in said


def test_partitioned_executions_come_back(
    empty_database: str, flowshift: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", empty_database)
    with an_engine(empty_database) as engine:
        platforms.make(engine, adopt=False, bots=3)
        platforms.script(
            engine,
            "DROP TABLE workflow_execution_runs CASCADE",
            "CREATE SCHEMA kinds",
            "CREATE TYPE kinds.status AS ENUM ('running', 'succeeded', 'failed')",
            "CREATE TABLE workflow_execution_runs (id uuid NOT NULL, bot_id varchar(50) NOT NULL,"
            " workflow_version_id uuid, session_id varchar(255), user_id varchar(36),"
            " graph_snapshot jsonb NOT NULL, inputs jsonb, outputs jsonb, status kinds.status NOT NULL,"
            " error_message text, started_at timestamptz, finished_at timestamptz, elapsed_time int,"
            " total_tokens int, total_steps int, created_at timestamptz NOT NULL DEFAULT now(),"
            " PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at)",
            "CREATE INDEX ON workflow_execution_runs (created_at)",
            "CREATE INDEX ON workflow_execution_runs (bot_id)",
            "CREATE INDEX ON workflow_execution_runs (session_id)",
            'CREATE TABLE "Odd.Name" PARTITION OF workflow_execution_runs DEFAULT',
            "CREATE TABLE june PARTITION OF workflow_execution_runs"
            " FOR VALUES FROM ('2020-06-01') TO ('2020-07-01')",
            "INSERT INTO workflow_execution_runs (id, bot_id, graph_snapshot, status, created_at)"
            " SELECT gen_random_uuid(), 'bot_0001', '{}', 'succeeded', d"
            " FROM unnest('{2020-06-15, 2021-01-01, 2022-01-01}'::timestamptz[]) d",
        )
        upgrade.upgrade(engine)
    manifest = backed_up(flowshift, tmp_path / "monday")

    rows = {table["name"]: table["rows"] for table in manifest["tables"]}
    assert rows["workflow_execution_runs"] == 3
    assert not {"june", "Odd.Name"} & set(rows)
    assert verified(flowshift, tmp_path / "monday")["is_whole"]


def test_two_thousand_bots_are_streamed(flowshift: Run, fleet: Fleet, tmp_path: Path) -> None:
    icu = fleet.rows("SELECT 1 FROM pg_collation WHERE collname = 'und-x-icu'")
    if icu:  # where the server has it: a collation in which lower case comes first
        fleet.execute('ALTER TABLE bots ALTER bot_id TYPE varchar(50) COLLATE "und-x-icu"')
    ids = fleet.add_many(2_000)
    fleet.add_many(1, prefix="Bot-")  # upper case comes first, whatever the database's collation
    target = tmp_path / "monday"
    assert backed_up(flowshift, target)["bots"] == 2_001

    lines = [json.loads(line) for line in (target / BOTS).read_bytes().splitlines()]
    assert [bot_id for bot_id, _ in lines] == ["Bot-00000", *ids]
    assert len({digest for _, digest in lines}) == 2_001
    assert verified(flowshift, target)["is_whole"]


def test_it_is_verified_on_a_postgresql_of_this_machine(
    flowshift: Run, filled: Fleet, tmp_path: Path
) -> None:
    tmp_path.chmod(0o711)
    backed_up(flowshift, tmp_path / "monday")
    before = databases(filled)

    assert verified(flowshift, tmp_path / "monday", "--embedded")["is_whole"]
    assert databases(filled) == before


# -- what differs is seen --------------------------------------------------------------------------


def sealed(target: Path, change: Any) -> None:
    """Change the manifest, and let the hashes of the files be right."""
    manifest = json.loads((target / MANIFEST).read_bytes())
    change(manifest)
    for entry in (manifest["bots_file"], manifest["dump_file"]):
        raw = (target / entry["name"]).read_bytes()
        entry["bytes"], entry["sha256"] = len(raw), hashlib.sha256(raw).hexdigest()
    (target / MANIFEST).write_bytes(json.dumps(manifest).encode())


def test_tables_and_bots_that_differ_are_named(
    flowshift: Run, filled: Fleet, tmp_path: Path
) -> None:
    target = tmp_path / "monday"
    backed_up(flowshift, target)
    lines = (target / BOTS).read_bytes().splitlines()
    one = json.loads(lines[3])
    lines[3] = json.dumps([one[0], "0" * 32]).encode()
    gone = json.loads(lines.pop(1))[0]
    lines.append(b'["zzz","1"]')
    (target / BOTS).write_bytes(b"\n".join(lines) + b"\n")

    def change(manifest: Any) -> None:
        for table in manifest["tables"]:
            if table["name"] == "bot_workflow_versions":
                table["hash"] = "0" * 32
            if table["name"] == "ledger":
                table["rows"] += 1

    sealed(target, change)
    found = verified(flowshift, target, code=1)

    assert [table["table"] for table in found["tables"]] == [
        "flowshift.ledger",
        "public.bot_workflow_versions",
    ]
    assert {(b["bot_id"], b["what"]) for b in found["bots"]["examples"]} == {
        (one[0], "changed"),
        (gone, "extra"),
        ("zzz", "missing"),
    }
    assert (found["is_whole"], found["differences"]) == (False, 5)
    _, out, _ = flowshift("backup", "verify", str(target))
    assert "flowshift.ledger has 12 rows, and had 13" in out
    assert "3 bots differ" in out
    assert "the backup is not whole" in out
    assert filled.rows("SELECT differences FROM flowshift.database_backups")[0][0] == 5


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: (d / DUMP).write_bytes((d / DUMP).read_bytes()[:-9]), "bytes, and "),
        (lambda d: flip(d / DUMP), "database.dump is damaged: its hash is another"),
        (lambda d: (d / DUMP).unlink(), "database.dump is missing"),
        (lambda d: flip(d / BOTS), "bots.jsonl is damaged"),
    ],
)
def test_a_damaged_file_is_found_before_anything_is_restored(
    flowshift: Run, filled: Fleet, tmp_path: Path, spoil: Any, said: str
) -> None:
    backed_up(flowshift, tmp_path / "monday")
    assert verified(flowshift, tmp_path / "monday")["is_whole"]
    spoil(tmp_path / "monday")

    found = verified(flowshift, tmp_path / "monday", code=1)
    assert said in found["damaged"][0]
    assert found["restore_s"] == 0
    assert filled.rows("SELECT differences FROM flowshift.database_backups")[0][0] == 1


def test_a_dump_that_was_cut_before_it_was_hashed_differs_and_says_why(
    flowshift: Run, filled: Fleet, tmp_path: Path
) -> None:
    target = tmp_path / "monday"
    backed_up(flowshift, target)
    raw = (target / DUMP).read_bytes()
    (target / DUMP).write_bytes(raw[: len(raw) // 2])
    sealed(target, lambda _: None)

    found = verified(flowshift, target, code=1)
    assert found["tables"]
    assert any("end of file" in problem for problem in found["problems"]), found["problems"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is damaged, or not one of flowshift's"),
        (b'{"kind": "flowshift backup"', "is damaged, or not one of flowshift's"),
        (b'{"kind": "other", "format": 1}', "is not one of flowshift's"),
        (
            b'{"kind": "flowshift backup", "format": 2}',
            "has the format 2, and this flowshift reads 1",
        ),
        (b'{"kind": "flowshift backup", "format": 1}', "is damaged: "),
    ],
)
def test_a_manifest_that_is_none_is_refused_in_one_sentence(
    flowshift: Run, filled: Fleet, tmp_path: Path, text: bytes, said: str
) -> None:
    (tmp_path / "monday").mkdir()
    (tmp_path / "monday" / MANIFEST).write_bytes(text)

    code, _, err = flowshift("backup", "verify", str(tmp_path / "monday"))
    assert (code, err.count("\n")) == (2, 1), err
    assert said in err


def test_a_directory_that_is_not_ours_is_refused(
    flowshift: Run, filled: Fleet, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    assert (
        "holds no backup of flowshift's"
        in flowshift("backup", "verify", str(tmp_path / "photos"))[2]
    )
    assert "there is no directory" in flowshift("backup", "verify", str(tmp_path / "none"))[2]


def test_a_backup_of_another_database_is_verified_and_not_noted(
    flowshift: Run, filled: Fleet, tmp_path: Path
) -> None:
    backed_up(flowshift, tmp_path / "monday")
    filled.execute("DELETE FROM flowshift.database_backups")

    code, out, err = flowshift("backup", "verify", str(tmp_path / "monday"))
    assert code == 0
    assert "the backup is whole" in out
    assert "not on record in this database" in err
    assert filled.rows("SELECT * FROM flowshift.database_backups") == []


# -- what is refused or fails, and leaves nothing -----------------------------------------------------


def test_nothing_is_ever_written_over(flowshift: Run, filled: Fleet, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    backed_up(flowshift, target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    (tmp_path / "backup-file").write_text("x")
    (tmp_path / "backup-link").symlink_to("nowhere")

    for name in ("backup", "backup-file", "backup-link"):
        code, _, err = flowshift("backup", str(tmp_path / name))
        assert code == 2
        assert "already, and a backup never writes over anything" in err
    assert "there is no directory" in flowshift("backup", str(tmp_path / "no" / "backup"))[2]
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert left(tmp_path) == ["backup", "backup-file", "backup-link"]


def test_a_name_that_is_taken_meanwhile_is_left_alone(
    flowshift: Run, filled: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "backup"
    monkeypatch.setenv(
        "FLOWSHIFT_POSTGRES_TOOLS_DIR",
        str(tools(tmp_path / "bin", pg_dump=f"mkdir {target}; echo mine > {target}/file")),
    )

    code, _, err = flowshift("backup", str(target))
    assert code == 2, err
    assert left(tmp_path) == ["backup"]
    assert (target / "file").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("pg_dump", "said"),
    [
        (
            "complain 'the moon is full'",
            "pg_dump failed, and no backup was taken: the moon is full",
        ),
        ('"$REAL" "$@"; complain "No space left on device"', "is full, and no backup was taken"),
        ("kill -9 $$", "it was ended by signal 9"),
        ("exit 7", "it ended with 7 and said nothing"),
        ("complain 'query failed: due to lock timeout'", "a table was being altered meanwhile"),
    ],
)
def test_a_dump_that_fails_leaves_nothing(
    flowshift: Run,
    filled: Fleet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pg_dump: str,
    said: str,
) -> None:
    lines = f'complain() {{ echo "pg_dump: error: $1" >&2; exit 1; }}\n{pg_dump}'
    monkeypatch.setenv("FLOWSHIFT_POSTGRES_TOOLS_DIR", str(tools(tmp_path / "bin", pg_dump=lines)))

    code, _, err = flowshift("backup", str(tmp_path / "backup"))
    assert code == 3
    assert said in err
    assert left(tmp_path) == []
    assert filled.rows("SELECT * FROM flowshift.database_backups") == []


def test_a_table_that_is_being_altered_is_not_waited_for_long(
    flowshift: Run, filled: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWSHIFT_LOCK_TIMEOUT_MS", "300")
    with filled.connect() as platform:
        platform.execute("ALTER TABLE bots ADD x int")
        code, _, err = flowshift("backup", str(tmp_path / "backup"))
        platform.rollback()
    assert code == 3
    assert "lock timeout" in err
    assert left(tmp_path) == []


def test_a_disk_that_is_full_is_said(flowshift: Run, filled: Fleet, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only who may mount a small disk can let it run full")
    try:
        code, _, err = flowshift("backup", str(disk / "backup"))
        assert (code, err.count("\n")) == (3, 1), err
        assert "is full, and no backup was taken" in err
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_tools_that_are_too_old_are_named(
    flowshift: Run, filled: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWSHIFT_POSTGRES_TOOLS_DIR", str(tools(tmp_path / "bin", major=12)))
    code, _, err = flowshift("backup", str(tmp_path / "backup"))
    assert code == 3
    assert "FLOWSHIFT_POSTGRES_TOOLS_DIR: the tools in" in err
    assert "are of PostgreSQL 12, and the server is PostgreSQL" in err
    monkeypatch.setenv("FLOWSHIFT_POSTGRES_TOOLS_DIR", str(tmp_path))
    assert "holds no pg_dump and pg_restore" in flowshift("backup", str(tmp_path / "backup"))[2]
    assert left(tmp_path) == []


# -- roles and secrets -----------------------------------------------------------------------------


@pytest.fixture
def as_role(role: Role, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Switch:
    """From the call on, commands run as the workers' role."""
    return lambda: monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", role.url(settings.database_url))


def test_a_worker_may_not_take_one_and_is_told_who_may(
    flowshift: Run, filled: Fleet, tmp_path: Path, role: Role, as_role: Switch
) -> None:
    as_role()
    code, _, err = flowshift("backup", str(tmp_path / "backup"))
    assert code == 3
    assert f"the role {role.name} may not read public.bots whole" in err
    assert "as the tables' owner" in err
    assert left(tmp_path) == []


def test_rows_that_a_policy_hides_are_no_backup(
    flowshift: Run, filled: Fleet, tmp_path: Path, role: Role, as_role: Switch
) -> None:
    filled.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role.name}")
    filled.execute("ALTER TABLE bots ENABLE ROW LEVEL SECURITY")
    as_role()

    code, _, err = flowshift("backup", str(tmp_path / "backup"))
    assert code == 3
    assert "row level security hides rows of public.bots" in err


def test_who_may_not_create_databases_is_told_what_to_do(
    flowshift: Run, filled: Fleet, tmp_path: Path, role: Role, as_role: Switch
) -> None:
    backed_up(flowshift, tmp_path / "monday")
    as_role()

    code, _, err = flowshift("backup", "verify", str(tmp_path / "monday"))
    assert code == 3
    assert f"ALTER ROLE {role.name} CREATEDB" in err
    assert "--embedded" in err


def test_a_password_is_no_argument_and_in_no_file(
    flowshift: Run,
    filled: Fleet,
    tmp_path: Path,
    role: Role,
    as_role: Switch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for kind in ("TABLES", "SEQUENCES"):
        filled.execute(f"GRANT SELECT ON ALL {kind} IN SCHEMA public, flowshift TO {role.name}")
    filled.execute(f"GRANT INSERT, UPDATE ON flowshift.database_backups TO {role.name}")
    seen = tmp_path / "seen"
    saw = f'printf "%s\\n" "$@" > {seen}; printf "%s" "$PGPASSWORD" > {seen}.env'
    monkeypatch.setenv("FLOWSHIFT_POSTGRES_TOOLS_DIR", str(tools(tmp_path / "bin", pg_dump=saw)))
    as_role()

    code, out, err = flowshift("backup", str(tmp_path / "monday"))
    assert code == 0, err
    assert (tmp_path / "seen.env").read_text() == role.password
    said = [out, err, seen.read_text(), (tmp_path / "monday" / MANIFEST).read_text()]
    assert not [text for text in said if role.password in text]
    assert f"user={role.name}" in seen.read_text()


# -- killed and interrupted ------------------------------------------------------------------------


@contextmanager
def started(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def owner(environment: dict[str, str], settings: Settings) -> dict[str, str]:
    return {**environment, "FLOWSHIFT_DATABASE_URL": settings.database_url}


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_backup_that_is_interrupted_leaves_nothing_and_no_pg_dump(
    filled: Fleet, tmp_path: Path, owner: dict[str, str], kind: signal.Signals
) -> None:
    busy = tmp_path / "pid"
    owner["FLOWSHIFT_POSTGRES_TOOLS_DIR"] = str(
        tools(tmp_path / "bin", pg_dump=f"echo $$ > {busy}; exec sleep 600")
    )
    with started(owner, "backup", str(tmp_path / "backup")) as process:
        pid = int(eventually(lambda: busy.exists() and busy.read_text().strip()))
        process.send_signal(kind)
        process.communicate(timeout=60)
        assert process.returncode == 130
    assert left(tmp_path) == []
    eventually(lambda: has_ended(pid))
    assert filled.rows("SELECT * FROM flowshift.database_backups") == []


def has_ended(pid: int) -> bool:
    """Whether a process is over, though nobody may have asked how it ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_backup_that_is_killed_has_no_name_and_no_pg_dump_and_the_next_removes_it(
    flowshift: Run, filled: Fleet, tmp_path: Path, owner: dict[str, str]
) -> None:
    busy, place = tmp_path / "pid", tmp_path / "backups"
    (theirs := place / ".theirs.partial-x").mkdir(parents=True)
    (theirs / "notes").touch()
    owner["FLOWSHIFT_POSTGRES_TOOLS_DIR"] = str(
        tools(tmp_path / "bin", pg_dump=f'"$REAL" "$@"; echo $$ > {busy}; exec sleep 600')
    )
    with started(owner, "backup", str(place / "backup")) as process:
        pid = int(eventually(lambda: busy.exists() and busy.read_text().strip()))
        assert flowshift("backup", str(place / "other"))[::2] == (0, "")  # that one is at work
        process.kill()
        process.communicate(timeout=60)
    eventually(lambda: has_ended(pid))
    (partial,) = (name for name in left(place) if name.startswith(".backup.partial-"))
    code, _, err = flowshift("backup", "verify", str(place / partial))
    assert code == 2
    assert "A backup that was interrupted has none" in err
    code, _, err = flowshift("backup", str(place / "backup"))
    assert code == 0
    assert f"removed '{partial}': a backup that was killed had left it" in err
    assert sorted(path.name for path in place.iterdir()) == [theirs.name, "backup", "other"]
    assert verified(flowshift, place / "backup")["is_whole"]


def test_a_verification_that_is_interrupted_drops_its_database_and_one_that_is_killed_is_named(
    flowshift: Run, filled: Fleet, tmp_path: Path, owner: dict[str, str], admin: sa.Engine
) -> None:
    backed_up(flowshift, tmp_path / "monday")
    before = set(databases(filled))
    busy = tmp_path / "pid"
    owner["FLOWSHIFT_POSTGRES_TOOLS_DIR"] = str(
        tools(tmp_path / "bin", pg_restore=f"echo $$ > {busy}; exec sleep 600")
    )

    def ended(kind: signal.Signals) -> int:
        busy.unlink(missing_ok=True)
        with started(owner, "backup", "verify", str(tmp_path / "monday")) as process:
            pid = int(eventually(lambda: busy.exists() and busy.read_text().strip()))
            assert len(set(databases(filled)) - before) == 1
            process.send_signal(kind)
            process.communicate(timeout=60)
        eventually(lambda: has_ended(pid))
        return process.returncode

    assert ended(signal.SIGINT) == 130
    assert set(databases(filled)) == before
    ended(signal.SIGKILL)
    (name,) = set(databases(filled)) - before
    gone = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"
    eventually(lambda: filled.rows(gone)[0][0] == 0)
    try:
        assert name in verified(flowshift, tmp_path / "monday")["left_over"]
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name}")


def test_a_program_that_dies_while_restoring_is_one_sentence(
    flowshift: Run, filled: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backed_up(flowshift, tmp_path / "monday")
    before = databases(filled)
    monkeypatch.setenv(
        "FLOWSHIFT_POSTGRES_TOOLS_DIR", str(tools(tmp_path / "bin", pg_restore="kill -9 $$"))
    )
    code, _, err = flowshift("backup", "verify", str(tmp_path / "monday"))
    assert (code, err.count("\n")) == (3, 1), err
    assert "pg_restore did not end: it was ended by signal 9" in err
    assert databases(filled) == before
    assert filled.rows("SELECT verified_at FROM flowshift.database_backups")[0][0] is None
