"""How Celery finds our tasks, whatever else is called `tasks` where a process is started."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from celery.loaders.app import AppLoader

from worker.errors import ConfigError

_ROOT = Path(__file__).parents[2]


class Loader(AppLoader):
    """Celery's loader, which finds our tasks whatever the current directory holds."""

    def import_task_module(self, module: str) -> Any:
        """Import `tasks`, or what `--include` names."""
        if module == "tasks":
            return ours(module)
        return super().import_task_module(module)


def ours(name: str) -> ModuleType:
    """Our package `name`, imported from beside this one.

    The current directory, or an application's own, may hold a `tasks.py` that an ordinary import
    would find first.

    Raises:
        ConfigError: this process has imported another module of that name already.
    """
    known = sys.modules.get(name)
    if known is None:
        return _imported(name)
    file = getattr(known, "__file__", None)
    if file is None or Path(file).resolve().parent.parent != _ROOT.resolve():
        raise ConfigError(
            f"the module {name!r} of this process is {file}, not flowshift's: an application with a "
            f"module of that name cannot import flowshift, but can send its tasks by name "
            "(docs/how-to/start-from-code.md)"
        )
    return known


def _imported(name: str) -> ModuleType:
    spec = PathFinder.find_spec(name, [str(_ROOT)])
    if spec is None or spec.loader is None:
        raise ConfigError(f"flowshift is not installed whole: {_ROOT / name} is missing")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
