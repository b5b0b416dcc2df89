"""What every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

ROOT = Path(__file__).parent.parent

hypothesis.settings.register_profile("trioagg", deadline=None, max_examples=50, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("trioagg")


@pytest.fixture(scope="session")
def captures() -> Path:
    """The folder of real recordings beside the repository; a test that needs one is skipped where they are not."""
    folder = ROOT.parent / "shared" / "captures"
    if not folder.is_dir():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no recordings in {folder}")
    return folder


@pytest.fixture(autouse=True)
def fresh_logging() -> Iterator[None]:
    """Let no test inherit another's logging."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
