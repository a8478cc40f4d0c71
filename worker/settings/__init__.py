"""Settings: environment variables `FLOWSHIFT_*`, read once, checked when a process starts.

Each group of settings is a class in the module of its name, with defaults, bounds and meanings; they
also make `docs/reference/settings.md`. A group extends the one before it, `Settings` the last.
"""

from worker.settings.field import PREFIX, variable
from worker.settings.injected import is_injected
from worker.settings.model import GROUPS, USUAL, Settings
from worker.settings.reading import load

__all__ = ["GROUPS", "PREFIX", "USUAL", "Settings", "is_injected", "load", "variable"]
