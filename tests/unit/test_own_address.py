"""What `flowshift up` and the demo tell their processes of the pages' address."""

from __future__ import annotations

import msgspec

from worker.processes.serve_program import own_address
from worker.processes.supervisor import Program, with_environment
from worker.settings import Settings


def test_pages_on_loopback_are_named_to_the_processes_beside_them() -> None:
    programs = with_environment([Program("w", ("w",), {"A": "1"})], own_address(Settings(), 5601))

    assert programs[0].environment == {"A": "1", "FLOWSHIFT_WEB_URL": "http://127.0.0.1:5601/"}


def test_an_address_that_is_set_or_that_others_reach_is_left_to_the_setting() -> None:
    chosen = msgspec.structs.replace(Settings(), web_url="https://flowshift.example")
    public = msgspec.structs.replace(Settings(), web_address="0.0.0.0")

    assert own_address(chosen, 5601) == own_address(public, 5601) == {}
