"""The pages that the demo names at its end are there, and are those of its story."""

from __future__ import annotations

from tests.fleet import Fleet
from tests.gate import Gate
from tests.publishing import Publishing
from tests.web import serving
from worker.steps.sample_story import story_pages


def test_the_pages_of_the_story_are_answered_also_those_of_the_publication_and_its_sick_bot(
    fleet: Fleet,
) -> None:
    fleet.add_many(3)
    fleet.run(validate="sample:1")
    before = story_pages(fleet.current.engine, 1, "bot-00001")
    gate = Gate(Publishing(fleet))
    gate.start()
    gate.work()
    fleet.execute("UPDATE flowshift.publication_bots SET state = 'quarantined' WHERE wave = 1")
    sick = gate.bots(1)

    after = story_pages(fleet.current.engine, 1, "bot-00001")

    assert [path for path, _ in before] == ["runs/1", "bot?id=bot-00001", "audit"]
    assert [path for path, _ in after] == [
        *("runs/1", "bot?id=bot-00001", "publications/1", f"bot?id={sick[0]}", "audit"),
    ]
    with serving(fleet.current) as client:
        shown = client.get(f"/bot?id={sick[0]}").text
        assert "it was sick there, and taken back alone" in shown
        assert "taken back alone" not in client.get("/bot?id=bot-00002").text
        assert [client.get(f"/{path}").status_code for path, _ in after] == [200] * 5
