"""Our own top-level packages, whatever of the same name is in the way of an import."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

from worker.errors import ConfigError

ROOT = Path(__file__).parents[1]


def ours(name: str) -> ModuleType:
    """Our package `name` (`tasks`, `migrations`), imported from beside this one.

    The current directory, or an application's own, may hold a `tasks.py` that an ordinary import
    would find first.

    Raises:
        ConfigError: this process has imported another module of that name already.
    """
    known = sys.modules.get(name)
    if known is None:
        return _imported(name)
    file = getattr(known, "__file__", None)
    if file is None or Path(file).resolve().parent.parent != ROOT.resolve():
        raise ConfigError(
            f"the module {name!r} of this process is {file}, not flowshift's: an application with a "
            f"module of that name cannot import flowshift, but can send its tasks by name "
            "(docs/how-to/start-from-code.md)"
        )
    return known


def _imported(name: str) -> ModuleType:
    spec = PathFinder.find_spec(name, [str(ROOT)])
    if spec is None or spec.loader is None:
        raise ConfigError(f"flowshift is not installed whole: {ROOT / name} is missing")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
