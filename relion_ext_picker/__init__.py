"""Particle picking for single-particle cryo-EM, as a RELION External job, in Scipion and headless."""

from __future__ import annotations

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Where Scipion's ``installp`` looks for the plugin: in the first package of the distribution by the alphabet."""
    if name == "Plugin":
        import importlib

        return importlib.import_module("scipion_plugin").Plugin
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
