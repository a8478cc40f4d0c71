"""The bench of pages measures what it says, on a small fleet."""

from __future__ import annotations

from bench import pages
from worker.runtime import Runtime

BOTS = 1_000


def test_each_page_of_the_bench_is_answered_and_counted_with_its_statements(
    current: Runtime,
) -> None:
    pages.fill(current, BOTS)
    with pages.Watch() as watch, pages.serving(current) as port:
        taken = {path: pages.page(port, path, 1, watch) for path in pages.PATHS}
        lines, _ = pages.csv(port)
        preview_s = pages.once(port, pages.PREVIEW)
    with pages.Watch() as watch:
        commands = [
            pages.taken(name, work, 1, watch) for name, work in pages.commands(current).items()
        ]

    assert lines == 1 + BOTS // 4
    assert all(one.p50_ms > 0 for one in taken.values())
    assert taken["/settings"].statements == 0
    assert taken["/runs/1"].statements > 0
    assert taken["/runs"].statements == 2
    assert all(one.statements > 0 for one in commands)
    said = pages.report(pages.Measured(BOTS, [*taken.values()], commands, lines, 1.0, preview_s))
    assert "| `/runs/1` |" in said
