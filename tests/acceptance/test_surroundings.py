"""Where a process is started, and what else is there, changes nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from tests.fleet import Fleet
from tests.live import Environment, eventually, is_over, workers
from worker.settings import Settings

pytestmark = pytest.mark.acceptance

FLOWSHIFT = Path(sys.executable).with_name("flowshift")
STEERING = {
    "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
    "CELERY_BROKER_READ_URL": "redis://127.0.0.1:1/0",
    "CELERY_BROKER_WRITE_URL": "redis://127.0.0.1:1/0",
    "CELERY_RESULT_BACKEND": "redis://127.0.0.1:1/0",
    "CELERY_LOADER": "default",
    "CELERY_CONFIG_MODULE": "celeryconfig",
    "CELERY_WORKER_POOL": "threads",
    "BROKER_URL": "redis://127.0.0.1:1/0",
    "APP": "tasks",
    "FLOWSHIFT_PORT": "tcp://10.0.0.1:80",
}


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A directory of another application, with modules of the names that we have too."""
    directory = tmp_path / "theirs"
    directory.mkdir()
    for name in ("tasks", "worker", "migrations", "celery", "celeryconfig", "flowerconfig"):
        (directory / f"{name}.py").write_text(f"raise SystemExit('their {name} was imported')\n")
    return directory


def test_modules_and_variables_of_another_application_change_nothing(
    fleet: Fleet, environment: Environment, theirs: Path
) -> None:
    fleet.add_many(3)

    ended = subprocess.run(
        [str(FLOWSHIFT), "migrate"],
        env={**environment, **STEERING},
        cwd=theirs,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert len(fleet.drafts()) == 3
    assert (ended.stdout + ended.stderr).count("CELERY_BROKER_READ_URL") == 1


def test_a_worker_started_by_celery_takes_our_tasks_and_our_queue(
    fleet: Fleet, environment: Environment, tmp_path: Path, sender: Celery
) -> None:
    (tmp_path / "tasks.py").write_text("raise SystemExit('their tasks were imported')\n")
    run_id = fleet.start().run_id
    with subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "--concurrency=1"],
        env={**environment, "CELERY_BROKER_URL": "redis://127.0.0.1:1/0"},
        cwd=tmp_path,
    ) as process:
        try:
            sender.send_task("flowshift.plan_run", kwargs={"run_id": run_id})
            eventually(lambda: is_over(fleet, run_id)() or process.poll() is not None)
            assert process.poll() is None
        finally:
            process.terminate()


def test_another_application_starts_a_run_by_the_name_of_the_task(
    fleet: Fleet, environment: Environment, settings: Settings, sender: Celery, theirs: Path
) -> None:
    ids = fleet.add_many(3)
    script = theirs / "theirs.py"
    (theirs / "celery.py").unlink()
    (theirs / "worker.py").write_text("mine = True\n")
    (theirs / "tasks.py").write_text("mine = True\n")
    script.write_text(
        "import sys, tasks, worker\n"
        "from celery import Celery\n"
        "assert tasks.mine and worker.mine\n"
        "url, name = sys.argv[1:]\n"
        "app = Celery(broker=url)\n"
        "app.conf.broker_transport_options = {'global_keyprefix': f'{name}:queue:'}\n"
        "app.send_task('flowshift.migrate', kwargs={}, queue=name)\n"
    )
    with workers(sender, environment):
        broker = sender.connection_for_write().as_uri(include_password=True)
        subprocess.run(
            [sys.executable, str(script), broker, settings.namespace], check=True, timeout=30
        )
        eventually(lambda: set(fleet.drafts()) == set(ids))


def test_an_application_whose_own_module_wins_reads_why(environment: Environment) -> None:
    code = (
        "import sys, types; sys.modules['tasks'] = types.ModuleType('tasks')\n"
        "from worker.app import app\n"
        "app.Task"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )

    assert "the module 'tasks' of this process is None, not flowshift's" in ended.stderr


def test_a_pool_of_threads_is_refused_in_a_sentence(environment: Environment) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "--pool=threads"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 3
    assert "the pool 'thread' is not supported" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.fixture
def silent_database(environment: Environment) -> Iterator[Environment]:
    """A database server that never answers: a command that asks it does not end by itself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://127.0.0.1:{server.getsockname()[1]}/nothing"
        yield {**environment, "FLOWSHIFT_DATABASE_URL": url}


@pytest.mark.parametrize("after_s", [0.06, 0.12, 0.25, 0.5, 2.0])
def test_ctrl_c_at_the_beginning_ends_without_a_traceback(
    silent_database: Environment, after_s: float
) -> None:
    command = [
        sys.executable,
        "-c",
        "import os, worker.__main__ as m; os.write(1, b'.'); m.main()",
    ]
    process = subprocess.Popen(
        [*command, "watch"],
        env=silent_database,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    os.read(process.stdout.fileno(), 1)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(after_s)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert b"Traceback" not in err
