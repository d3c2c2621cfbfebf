"""The example notebook runs from top to bottom: pictures show themselves, and the bar comes to its end."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parent.parent.parent / "examples" / "notebook.ipynb"


@pytest.fixture
def outputs() -> list[list[Any]]:
    """What each cell of code shows."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.filterwarnings("ignore")  # of the kernel's own machinery
def test_pictures_show_themselves_and_the_bar_comes_to_its_end(outputs: list[list[Any]]) -> None:
    _, generation, run, image = outputs
    for [shown] in (generation, image):
        assert base64.b64decode(shown.data["image/jpeg"]).startswith(b"\xff\xd8\xff")
    bar, report = run
    assert '<progress value="6" max="6"' in bar.data["text/html"]
    assert "6 of 6" in bar.data["text/html"]
    assert "-in-watercolour" not in bar.data["text/html"]  # a MemorySink has no names
    assert report.data["text/plain"] == "6"


def test_what_is_kept_in_the_notebook_has_no_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
