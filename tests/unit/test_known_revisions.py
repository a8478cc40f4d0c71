"""What the file names of the migrations say is what Alembic says."""

from __future__ import annotations

import subprocess
import sys

from alembic.script import ScriptDirectory

from migrations import known
from migrations.upgrade import alembic_config


def test_the_known_revisions_are_those_that_alembic_finds() -> None:
    scripts = ScriptDirectory.from_config(alembic_config())

    assert known.head() == scripts.get_current_head()
    assert known.revisions().known == {script.revision for script in scripts.walk_revisions()}


def test_a_command_that_changes_no_table_does_not_load_alembic() -> None:
    program = "import sys, worker.cli.session; print('alembic' in sys.modules)"

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert ended.stdout.strip() == b"False"
