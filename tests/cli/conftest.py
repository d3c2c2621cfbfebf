from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from terminal import Ended, Start, starting
from typer.testing import CliRunner

from asi_image_async.cli.app import app

Run = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def asi_image() -> Run:
    """Run the command within this process; a key is set unless the test takes it away."""

    def run(*arguments: str | Path, stdin: str | bytes = "") -> Ended:
        result = CliRunner().invoke(app, [*map(str, arguments)], input=stdin, prog_name="asi-image")
        return Ended(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def start() -> Iterator[Start]:
    """Start the command in a process of its own, and leave none behind."""
    with starting() as start:
        yield start


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """A prompt file with three prompts, one of them twice."""
    path = tmp_path / "prompts.txt"
    path.write_text("a red fox\na blue whale\na red fox\n", encoding="utf-8")
    return path
