"""The commands over a bot's versions, on PostgreSQL, with a person at work at the same moment."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import platforms
from tests.fleet import Fleet, a_workflow
from tests.integration.conftest import Run
from tests.live import eventually
from tests.roles import Role

BOT = "bot-1"


@pytest.fixture
def converted(fleet: Fleet) -> Fleet:
    fleet.add(BOT, a_workflow())
    fleet.run()
    return fleet


def read(flowshift: Run, bot_id: str = BOT) -> dict[str, Any]:
    code, out, err = flowshift("draft", bot_id)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def edited(document: dict[str, Any], prompt: str = "{context} by hand {query}") -> dict[str, Any]:
    changed = copy.deepcopy(document)
    next(n for n in changed["nodes"] if n["type"] == "llm")["data"]["prompt_template"] = prompt
    return changed


def write(flowshift: Run, document: Any, *options: str) -> tuple[int, str, str]:
    return flowshift("draft", BOT, "--from", "-", *options, stdin=json.dumps(document).encode())


def versions(fleet: Fleet) -> list[tuple[str, str]]:
    rows = fleet.rows("SELECT version::text, status::text FROM bot_workflow_versions ORDER BY 1")
    return [tuple(row) for row in rows]


def actions(fleet: Fleet) -> list[str]:
    rows = fleet.rows(
        "SELECT action FROM flowshift.audit WHERE action ~ '^(draft|version)' ORDER BY id"
    )
    return [row.action for row in rows]


def graph_of(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "flowshift_draft"}


# -- draft -----------------------------------------------------------------------------------------


def test_a_draft_goes_out_to_a_file_and_back_as_a_persons_edit_that_runs_keep(
    converted: Fleet, flowshift: Run, tmp_path: Path
) -> None:
    path = tmp_path / "draft.json"
    code, out, _ = flowshift("draft", BOT)
    document = edited(json.loads(out))
    path.write_text(json.dumps(document), encoding="utf-8-sig")
    code, out, err = flowshift("draft", BOT, "--from", str(path), "--reason", "shorter", "--json")
    assert (code, json.loads(out)["changed"]) == (0, True), err
    assert converted.drafts()[BOT] == graph_of(document)
    entry = converted.rows("SELECT * FROM flowshift.audit WHERE action = 'draft.written'")[0]
    assert (entry.reason, entry.detail["bot_id"]) == ("shorter", BOT)

    run = converted.run()
    assert converted.outcomes(run.run_id) == {BOT: "skipped draft_edited"}
    assert converted.drafts()[BOT] == graph_of(document)


def test_a_draft_that_is_written_back_unchanged_changes_nothing(
    converted: Fleet, flowshift: Run
) -> None:
    before = converted.rows("SELECT xmin::text, graph FROM bot_workflow_versions")
    code, out, _ = write(flowshift, read(flowshift), "--json")
    assert (code, json.loads(out)["changed"]) == (0, False)
    assert converted.rows("SELECT graph FROM bot_workflow_versions")[0].graph == before[0].graph
    assert actions(converted) == []


def test_a_draft_that_changed_since_it_was_read_is_not_overwritten(
    converted: Fleet, flowshift: Run
) -> None:
    document = read(flowshift)
    theirs = graph_of(edited(document, "theirs {query}"))
    converted.set_draft(BOT, theirs)
    code, _, err = write(flowshift, edited(document))
    assert code == 2
    assert "changed since it was read" in err
    assert converted.drafts()[BOT] == theirs
    assert actions(converted) == []


def beside(fleet: Fleet, statement: str, command: Callable[[], Any]) -> Any:
    """Run a command while another session has run `statement` and commits once the command waits."""
    results: list[Any] = []
    with fleet.connect() as person:
        person.execute(statement.encode())
        thread = threading.Thread(target=lambda: results.append(command()))
        thread.start()
        eventually(
            lambda: fleet.rows(
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock'"
            )
        )
        person.commit()
        thread.join()
    return results[0]


def test_an_edit_that_commits_while_the_command_waits_is_kept(
    converted: Fleet, flowshift: Run
) -> None:
    document = edited(read(flowshift))
    edit = (
        "UPDATE bot_workflow_versions SET graph = jsonb_set(graph, '{theirs}', '1')"
        " WHERE status = 'draft'"
    )
    code, _, err = beside(converted, edit, lambda: write(flowshift, document))
    assert (code, "changed since it was read" in err) == (2, True)
    assert converted.drafts()[BOT]["theirs"] == 1


def test_a_bot_that_is_flagged_while_the_command_waits_keeps_its_draft(
    converted: Fleet, flowshift: Run
) -> None:
    document = edited(read(flowshift))
    flag = "UPDATE bots SET use_workflow_v2 = true"
    code, _, err = beside(converted, flag, lambda: write(flowshift, document))
    assert (code, "draft_would_go_live" in err) == (2, True)
    assert converted.drafts()[BOT] != graph_of(document)


def test_a_draft_that_may_be_live_is_written_only_with_live_drafts(
    converted: Fleet, flowshift: Run
) -> None:
    converted.execute("UPDATE bots SET use_workflow_v2 = true")
    document = edited(read(flowshift))
    assert write(flowshift, document)[0] == 2
    assert converted.drafts()[BOT] != graph_of(document)
    assert write(flowshift, document, "--live-drafts")[0] == 0
    assert converted.drafts()[BOT] == graph_of(document)


def test_a_graph_that_fails_the_checklist_is_refused_with_what_and_where(
    converted: Fleet, flowshift: Run
) -> None:
    document = read(flowshift)
    before = converted.drafts()
    document["edges"][0]["target_port"] = "nowhere"
    code, out, err = write(flowshift, document)
    assert (code, out) == (1, "")
    assert "nowhere" in err
    code, out, _ = write(flowshift, document, "--json")
    issue = json.loads(out)["issues"][0]
    assert code == 1
    assert issue["code"]
    assert issue["path"]
    assert converted.drafts() == before


def deep(levels: int) -> bytes:
    return b'{"nodes": ' + b"[" * levels + b"]" * levels + b"}"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "not_a_workflow"),
        (b"[]", "not_a_workflow"),
        (b'{"flowshift_draft": 7}', "not_a_workflow"),
        (b'{"nodes": [], "edges": [], "x": "\\u0000"}', "invalid_text"),
        (b'{"nodes": [], "edges": [], "x": 1e999999}', "invalid_text"),
        (deep(200), "too_large"),
        (deep(200_000), "too_large"),
        (b'{"x": "' + b"a" * (4 << 20) + b'"}', "too_large"),
        (b" " * (17 << 20), "too_large"),
    ],
)
def test_what_no_column_holds_is_refused_by_code(
    text: bytes, code: str, converted: Fleet, flowshift: Run
) -> None:
    before = converted.drafts()
    exit_code, out, err = flowshift("draft", BOT, "--from", "-", "--json", stdin=text)
    assert (exit_code, [one["code"] for one in json.loads(out)["issues"]]) == (1, [code]), err
    assert converted.drafts() == before


def test_a_file_goes_back_only_to_the_bot_that_it_came_from(
    converted: Fleet, flowshift: Run
) -> None:
    document = edited(read(flowshift))
    document["flowshift_draft"]["bot_id"] = "bot-2"
    code, _, err = write(flowshift, document)
    assert (code, "'bot-2'" in err) == (2, True)
    document = graph_of(document)
    code, _, err = write(flowshift, document)
    assert (code, "--state" in err) == (2, True)
    state = read(flowshift)["flowshift_draft"]["state"]
    assert write(flowshift, document, "--state", state)[0] == 0
    assert converted.drafts()[BOT] == document


def test_a_bot_without_a_draft_gets_one_only_if_that_is_said(
    converted: Fleet, flowshift: Run
) -> None:
    document = graph_of(edited(read(flowshift)))
    converted.execute("DELETE FROM workflow_execution_runs")
    converted.execute("DELETE FROM bot_workflow_versions")
    assert flowshift("draft", BOT)[0] == 2
    assert write(flowshift, document, "--state", "0" * 32)[0] == 2
    assert converted.drafts() == {}
    assert write(flowshift, document, "--state", "none")[0] == 0
    assert converted.drafts()[BOT] == document


@pytest.mark.parametrize("command", ["draft", "restore"])
def test_a_draft_that_appears_while_the_command_makes_one_is_not_overwritten(
    command: str, converted: Fleet, flowshift: Run
) -> None:
    document = graph_of(edited(read(flowshift)))
    converted.add_version(BOT, "v1.0", "archived")
    converted.execute("DELETE FROM workflow_execution_runs")
    converted.execute("DELETE FROM bot_workflow_versions WHERE status = 'draft'")
    insert = (
        "INSERT INTO bot_workflow_versions (id, bot_id, version, status, graph)"
        " VALUES (gen_random_uuid(), 'bot-1', 'draft', 'draft', '{\"theirs\": 1}')"
    )

    def run() -> tuple[int, str, str]:
        if command == "draft":
            return write(flowshift, document, "--state", "none")
        return flowshift("restore", BOT, "v1.0")

    code, _, err = beside(converted, insert, run)
    assert code in (2, 3), err
    assert converted.drafts()[BOT] == {"theirs": 1}
    assert actions(converted) == []


def test_a_bot_whose_draft_is_gone_gets_a_version_as_its_draft(
    converted: Fleet, flowshift: Run
) -> None:
    converted.add_version(BOT, "v1.0", "archived")
    converted.execute("DELETE FROM workflow_execution_runs")
    converted.execute("DELETE FROM bot_workflow_versions WHERE status = 'draft'")
    assert flowshift("restore", BOT, "v1.0")[0] == 0
    assert converted.drafts()[BOT] == {"nodes": []}


def test_numbers_keep_their_digits_on_the_way_out_and_back(
    converted: Fleet, flowshift: Run
) -> None:
    number = "1.000000000000000000000000000000000010"
    converted.execute(
        f"UPDATE bot_workflow_versions SET graph = jsonb_set(graph, '{{x}}', '{number}')"
    )
    _, out, _ = flowshift("draft", BOT)
    assert number in out
    changed = out.replace('"nodes"', '"mine": true, "nodes"', 1).encode()
    assert flowshift("draft", BOT, "--from", "-", stdin=changed)[0] == 0
    stored = converted.rows(
        "SELECT graph ->> 'x' AS x, graph ->> 'mine' AS m FROM bot_workflow_versions"
    )
    assert tuple(stored[0]) == (number, "true")


# -- versions --------------------------------------------------------------------------------------


def listed(flowshift: Run) -> dict[str, Any]:
    code, out, err = flowshift("versions", BOT, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_the_newest_published_version_of_a_flagged_bot_is_live_and_null_is_before_all(
    converted: Fleet, flowshift: Run
) -> None:
    for name, at in (("v1.0", "2026-01-01"), ("v1.1", "2026-03-01"), ("v1.2", "2026-02-01")):
        converted.add_version(BOT, name, "published")
        converted.execute(
            "UPDATE bot_workflow_versions SET published_at = :at WHERE version = :name",
            at=at,
            name=name,
        )
    assert listed(flowshift)["live"] is None
    converted.execute("UPDATE bots SET use_workflow_v2 = true")
    assert listed(flowshift)["live"] == "v1.1"
    converted.add_version(BOT, "v0.9", "published")
    found = listed(flowshift)
    assert found["live"] == "v0.9"
    whose = {one["version"]: (one["whose"], one["nodes"]) for one in found["versions"]}
    assert whose["v1.0"] == ("person", 0)
    assert whose["draft"] == ("flowshift", len(converted.drafts()[BOT]["nodes"]))
    assert "v0.9" in flowshift("versions", BOT)[1]


@pytest.mark.parametrize(("target", "live"), [("answer", "draft"), ("guide", None)])
def test_a_flagged_bots_draft_is_live_where_the_platform_serves_drafts(
    target: str,
    live: str | None,
    converted: Fleet,
    flowshift: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLOWSHIFT_TARGET", target)
    converted.execute("UPDATE bots SET use_workflow_v2 = true")
    assert listed(flowshift)["live"] == live


def test_an_unknown_bot_is_named_by_every_command(converted: Fleet, flowshift: Run) -> None:
    for command in (["versions"], ["draft"], ["archive", "v1.0"], ["restore", "v1.0"]):
        code, _, err = flowshift(command[0], "bot-x", *command[1:])
        assert (code, "there is no bot 'bot-x'" in err) == (2, True), err


# -- archive ---------------------------------------------------------------------------------------


def test_the_live_version_and_the_draft_are_never_archived(
    converted: Fleet, flowshift: Run
) -> None:
    converted.add_version(BOT, "v1.0", "published")
    converted.execute("UPDATE bots SET use_workflow_v2 = true")
    for name in ("v1.0", "draft", "v9"):
        assert flowshift("archive", BOT, name)[0] == 2
    assert versions(converted) == [("draft", "draft"), ("v1.0", "published")]
    converted.execute(
        "UPDATE bot_workflow_versions SET published_at = now() WHERE version = 'v1.0'"
    )
    converted.add_version(BOT, "v1.1", "published")  # null: it is served
    assert flowshift("archive", BOT, "v1.1")[0] == 2
    assert flowshift("archive", BOT, "v1.0", "--reason", "two")[0] == 0
    assert flowshift("archive", BOT, "v1.0")[1] == "v1.0 of bot-1 is already archived\n"
    assert versions(converted)[1:] == [("v1.0", "archived"), ("v1.1", "published")]
    assert actions(converted) == ["version.archived"]
    assert "bot-1 v1.0" in flowshift("audit")[1] or "two" in flowshift("audit")[1]


def test_a_version_that_goes_live_while_the_command_waits_is_not_archived(
    converted: Fleet, flowshift: Run
) -> None:
    converted.add_version(BOT, "v1.0", "published")
    flag = "UPDATE bots SET use_workflow_v2 = true"
    code, _, err = beside(converted, flag, lambda: flowshift("archive", BOT, "v1.0"))
    assert (code, "is live" in err) == (2, True)
    assert versions(converted) == [("draft", "draft"), ("v1.0", "published")]


# -- restore ---------------------------------------------------------------------------------------


def test_restoring_keeps_a_persons_draft_as_an_archived_version_first(
    converted: Fleet, flowshift: Run
) -> None:
    mine = graph_of(edited(read(flowshift)))
    converted.set_draft(BOT, mine)
    converted.add_version(BOT, "v1.4", "archived")
    converted.execute(
        "UPDATE bot_workflow_versions SET environment_variables = '{\"a\": 1}',"
        " graph = graph || '{\"x\": 1}'"
        " WHERE version = 'v1.4'"
    )
    code, out, err = flowshift("restore", BOT, "v1.4", "--json")
    assert (code, json.loads(out)["kept"]) == (0, "v1.5"), err
    rows = {row.version: row for row in converted.rows("SELECT * FROM bot_workflow_versions")}
    assert (rows["draft"].graph, rows["draft"].environment_variables) == (
        {"nodes": [], "x": 1},
        {"a": 1},
    )
    assert (rows["v1.5"].graph, rows["v1.5"].status) == (mine, "archived")
    assert rows["v1.5"].published_at is None
    assert rows["v1.4"].status == "archived"
    again = json.loads(flowshift("restore", BOT, "v1.4", "--json")[1])
    assert (again["changed"], again["kept"]) == (False, None)
    assert actions(converted) == ["draft.restored"]

    back = json.loads(flowshift("restore", BOT, "v1.5", "--json")[1])
    assert (back["changed"], back["kept"]) == (True, None)
    assert converted.drafts()[BOT] == mine


def test_a_draft_that_a_run_wrote_is_not_kept_besides(converted: Fleet, flowshift: Run) -> None:
    converted.add_version(BOT, "v1.0", "archived")
    assert json.loads(flowshift("restore", BOT, "v1.0", "--json")[1])["kept"] is None
    assert versions(converted) == [("draft", "draft"), ("v1.0", "archived")]


def test_variables_that_a_person_set_beside_our_graph_are_kept(
    converted: Fleet, flowshift: Run
) -> None:
    converted.add_version(BOT, "v1.0", "archived")
    converted.execute(
        "UPDATE bot_workflow_versions SET conversation_variables = '{\"mine\": 1}' WHERE status = 'draft'"
    )
    assert json.loads(flowshift("restore", BOT, "v1.0", "--json")[1])["kept"] == "v1.1"
    kept = converted.rows("SELECT * FROM bot_workflow_versions WHERE version = 'v1.1'")[0]
    assert kept.conversation_variables == {"mine": 1}


def test_an_edit_that_commits_while_a_restore_waits_is_kept_as_a_version(
    converted: Fleet, flowshift: Run
) -> None:
    converted.add_version(BOT, "v1.0", "archived")
    edit = (
        "UPDATE bot_workflow_versions SET graph = jsonb_set(graph, '{theirs}', '1')"
        " WHERE status = 'draft'"
    )
    code, _, err = beside(converted, edit, lambda: flowshift("restore", BOT, "v1.0"))
    assert code == 0, err
    kept = converted.rows("SELECT graph FROM bot_workflow_versions WHERE version = 'v1.1'")
    assert kept[0].graph["theirs"] == 1


def test_a_draft_that_may_be_live_is_restored_only_with_live_drafts(
    converted: Fleet, flowshift: Run
) -> None:
    converted.add_version(BOT, "v1.0", "archived")
    converted.execute("UPDATE bots SET use_workflow_v2 = true")
    before = converted.drafts()
    code, _, err = flowshift("restore", BOT, "v1.0")
    assert (code, "draft_would_go_live" in err) == (2, True)
    assert converted.drafts() == before
    assert flowshift("restore", BOT, "v1.0", "--live-drafts")[0] == 0


def test_a_database_that_stores_something_else_changes_nothing(
    converted: Fleet, flowshift: Run
) -> None:
    document = edited(read(flowshift))
    converted.set_draft(BOT, graph_of(edited(document, "mine {query}")))
    document = edited(read(flowshift))
    for name in ("v1.0", "v1.1"):
        converted.add_version(BOT, name, "published")
    platforms.script(
        converted.engine,
        "CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN new.graph := new.graph || ''{\"other\": 1}''; new.status := ''published'';"
        " RETURN new; END'",
        "CREATE TRIGGER undo BEFORE INSERT OR UPDATE ON bot_workflow_versions"
        " FOR EACH ROW EXECUTE FUNCTION undo()",
    )
    before = converted.rows("SELECT * FROM bot_workflow_versions ORDER BY version")
    assert write(flowshift, document)[0] == 3
    assert flowshift("restore", BOT, "v1.0")[0] == 3
    assert flowshift("archive", BOT, "v1.0")[0] == 3
    assert converted.rows("SELECT * FROM bot_workflow_versions ORDER BY version") == before
    assert actions(converted) == []


def test_a_role_with_a_converting_workers_rights_corrects_and_restores_but_does_not_archive(
    converted: Fleet, flowshift: Run, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = role.url(converted.engine.url.render_as_string(hide_password=False))
    converted.add_version(BOT, "v1.0", "archived")
    converted.add_version(BOT, "v1.1", "published")
    monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", url)
    assert write(flowshift, edited(read(flowshift)))[0] == 0
    assert json.loads(flowshift("restore", BOT, "v1.0", "--json")[1])["kept"] == "v1.2"
    code, _, err = flowshift("archive", BOT, "v1.1")
    assert (code, "no right to UPDATE status" in err) == (3, True), err
