"""The `--help` texts in the README: `python tests/help_texts.py` writes them anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer.main
from typer.testing import CliRunner

from asi_image_async.cli.app import app

README = Path(__file__).resolve().parent.parent / "README.md"
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # of a group
BEGIN, END = "<!-- written by tests/help_texts.py -->\n", "<!-- to here -->\n"


def with_help_texts(readme: str) -> str:
    """The README with the texts of today."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    texts = "\n".join([_help(), *map(_help, COMMANDS)])
    return f"{before}{BEGIN}\n```text\n{texts}```\n\n{END}{after}"


def _help(*arguments: str) -> str:
    shown = CliRunner().invoke(
        app, [*arguments, "--help"], prog_name="asi-image", env={"COLUMNS": "80", "NO_COLOR": "1"}
    )
    assert shown.exit_code == 0
    words = " ".join(["asi-image", *arguments, "--help"])
    return f"$ {words}\n{shown.output.strip()}\n"


if __name__ == "__main__":
    README.write_text(with_help_texts(README.read_text(encoding="utf-8")), encoding="utf-8")
