"""The pictures of the README, made anew: `python tests/screenshots.py`.

A batch on a terminal (tmux) and its gallery in a browser (chromium), light and dark, drawn by the emulator.
Needs both programs, Playwright and Pillow; writes into examples/screenshots/.
"""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, DIMMED_MONOKAI, TerminalTheme
from rich.text import Text

OUT = Path(__file__).resolve().parent.parent / "examples" / "screenshots"
THEMES: dict[str, TerminalTheme] = {"light": DEFAULT_TERMINAL_THEME, "dark": DIMMED_MONOKAI}
WIDTH, HEIGHT = 92, 9
TEMPLATE = "{subject} {light}, {style}"
SETS = (
    "subject=a lighthouse on a cliff,a city by the water,dunes under a moon,a forest path,a ringed planet",
    "light=at dawn,in a storm,at night",
    "style=oil on canvas,paper cut",
)


def command(out: Path, *more: str) -> list[str]:
    sets = [part for each in SETS for part in ("--set", each)]
    line = [sys.executable, "-m", "asi_image_async", "batch", "--template", TEMPLATE, *sets]
    return [*line, "--out", str(out), "--emulate", *more]


def on_terminal(out: Path) -> str:
    """What a terminal shows in the middle of a batch, with its colours as escape codes."""
    name = "asi-image-screenshot"
    words = shlex.join(command(out, "--rate", "6/2s", "--max-cost", "2", "--price", "0.04"))
    tmux = ["tmux", "-f", "/dev/null", "-L", name]
    start = [*tmux, "new-session", "-d", "-x", str(WIDTH), "-y", str(HEIGHT), f"TERM=xterm-256color {words}"]
    subprocess.run(start, cwd=out.parent, check=True)
    try:
        time.sleep(5)
        shown = subprocess.run(
            [*tmux, "capture-pane", "-e", "-p"], capture_output=True, text=True, check=True
        )
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
    return shown.stdout.rstrip()


def draw_terminal(shown: str, title: str, path: Path, theme: TerminalTheme) -> None:
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(Text.from_ansi(shown))
    path.write_text(console.export_svg(title=title, theme=theme), encoding="utf-8")


def draw_gallery(page_file: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for scheme in THEMES:
            page = browser.new_page(
                viewport={"width": 1200, "height": 760}, color_scheme=scheme, device_scale_factor=1.5
            )
            page.goto(page_file.resolve().as_uri())
            page.wait_for_timeout(1500)
            picture = Image.open(io.BytesIO(page.screenshot()))
            picture.convert("RGB").save(OUT / f"gallery-{scheme}.webp", quality=80, method=6)
        browser.close()


def main() -> None:
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        shown = on_terminal(Path(folder) / "pictures")
        shown = shown.replace(f"{folder}/", "")
        for name, theme in THEMES.items():
            draw_terminal(shown, "asi-image batch", OUT / f"terminal-{name}.svg", theme)
        subprocess.run(command(Path(folder) / "pictures", "--quiet"), check=True)
        draw_gallery(Path(folder) / "pictures" / "index.html")


if __name__ == "__main__":
    main()
