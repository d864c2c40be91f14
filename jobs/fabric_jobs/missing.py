"""Saying which extra brings what is missing."""

from __future__ import annotations

from importlib.util import find_spec

from .workers import NoWorkersError


def needs(*modules: str, extra: str) -> None:
    """Raise NoWorkersError, with what to install, unless these modules are installed here."""
    for module in modules:
        if find_spec(module) is None:
            raise NoWorkersError(f"{module} is not installed here: pip install 'adaptive-fabric[{extra}]'")
