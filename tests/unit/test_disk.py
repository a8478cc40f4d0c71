"""Telling of a full disk, with no disk."""

from __future__ import annotations

from pathlib import Path

from worker.cli.disk import ROOM_BYTES, DiskWatch
from worker.settings import Settings


class Disk:
    """A disk with so much room, and a clock."""

    def __init__(self, settings: Settings) -> None:
        self.room = ROOM_BYTES
        self.now = 0.0
        self.told: list[str] = []
        self._watch = DiskWatch(settings, self.told.append, lambda: self.now, lambda _: self.room)

    def later(self, room: int) -> int:
        """Look again with so much room, when it is time to; how often something was told."""
        self.room = room
        self.now += 2
        self._watch.tend()
        return len(self.told)


def test_a_full_disk_is_told_once_and_so_is_its_end(tmp_path: Path) -> None:
    disk = Disk(Settings(data_dir=str(tmp_path)))
    rooms = (ROOM_BYTES, ROOM_BYTES - 1, 0, ROOM_BYTES, ROOM_BYTES)
    assert [disk.later(room) for room in rooms] == [0, 1, 1, 2, 2]
    assert disk.told[0].startswith(f"the disk of {tmp_path} is full (33.6 MB left)")
    assert disk.told[1] == f"there is room again in {tmp_path} (33.6 MB left)"


def test_where_the_servers_data_is_elsewhere_that_disk_counts(tmp_path: Path) -> None:
    (tmp_path / "servers.location").write_text("/var/lib/flowshift/there")
    disk = Disk(Settings(data_dir=str(tmp_path)))
    disk.later(0)
    assert "the disk of /var/lib/flowshift/there is full" in disk.told[0]


def test_the_disk_of_servers_with_a_url_is_none_of_ours(tmp_path: Path) -> None:
    disk = Disk(
        Settings(
            database_url="postgresql://db/platform",
            redis_url="redis://cache",
            data_dir=str(tmp_path),
        )
    )
    assert disk.later(0) == 0
