"""Tiny models with their exports."""

from pathlib import Path

from generative.cards import About
from generative.export import __main__ as command
from generative.store import save_model
from tests.families import tiny


def exported(repo: Path) -> Path:
    """Models with classes and noise (`faces`), and without W (`letters`), with their exports for Triton."""
    save_model(repo / "faces", tiny("stylegan2"), About(name="faces"))
    save_model(repo / "letters", tiny("eigengan"), About(name="letters"))
    for name in ("faces", "letters"):
        assert command.main([name, "--to", "triton", "--repo", str(repo)]) == 0
    return repo
