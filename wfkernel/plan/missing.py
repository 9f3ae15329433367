"""What stands for a value that is not there, where None would be one."""

from __future__ import annotations

from typing import Final

__all__ = ["MISSING"]

MISSING: Final = type("Missing", (), {"__repr__": lambda self: "MISSING", "__bool__": lambda self: False})()
