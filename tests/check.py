"""Everything that must hold, in one command: `python3 tests/check.py [pytest's arguments]`.

Makes an environment of its own (.venv-check), builds the wheel, installs it there, looks at the code with
ruff, mypy and import-linter, and runs the tests against the installed wheel, away from the checkout. Needs
Python 3.11 or newer and nothing else.

With `--least` first it only runs tests, those that are named, with the least version of each package that
pyproject.toml allows (in .venv-least).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEAST = sys.argv[1:2] == ["--least"]
LONG = os.environ.get("ASI_CHAOS") == "long"
ENVIRONMENT = ROOT / (".venv-least" if LEAST else ".venv-check")
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
# Those that bring no requirements of their own to what is to be the least.
RUNNERS = ("blockbuster", "hypothesis", "pytest", "pytest-timeout", "pytest-xdist", "trustme")


def run(*command: str | Path | int, cwd: Path = ROOT, **environment: str) -> None:
    print("$", *(str(part).removeprefix(f"{BIN}{os.sep}") for part in command), flush=True)
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""} | environment  # many tests start Python anew
    subprocess.run([*map(str, command)], cwd=cwd, check=True, env=environment)


def install(scratch: Path) -> None:
    """The wheel as users get it, and the tools."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if not BIN.exists():
        venv.create(ENVIRONMENT, with_pip=True)
    pip = (BIN / "python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    put = (*pip, "install", "--no-compile")  # most of it is never imported, and the rest is compiled then
    run(*pip, "wheel", "--no-deps", "--wheel-dir", scratch, ROOT)
    wheel = next(scratch.glob("*.whl"))
    if LEAST:
        extras = project["project"]["optional-dependencies"]
        needed = sum((extras[name] for name in extras if name != "all"), project["project"]["dependencies"])
        constraints = scratch / "least.txt"
        constraints.write_text("\n".join(each.replace(">=", "==", 1) for each in needed), encoding="utf-8")
        run(*put, f"{wheel}[all]", *RUNNERS, "--constraint", constraints)
    else:
        run(*put, f"{wheel}[all]", *project["dependency-groups"]["dev"])
    run(*put, "--no-deps", "--force-reinstall", wheel)


def look() -> None:
    """The code as it is written."""
    run(BIN / "ruff", "check", ".")
    run(BIN / "ruff", "format", "--check", ".")
    run(BIN / "mypy")
    run(BIN / "lint-imports", "--no-cache")


def test(scratch: Path, arguments: list[str]) -> None:
    """The tests, against the installed wheel: the scratch folder holds no package to import instead."""
    shutil.copytree(ROOT / "tests", scratch / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "examples"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, scratch / name)
    workers = (os.cpu_count() or 1) + 1  # as many tests wait for a program or for a limit
    pytest = ("-m", "pytest", "-n", workers, "--dist", "worksteal", *arguments)
    if LEAST or LONG:  # to count lines takes half as long again
        run(BIN / "python", *pytest, cwd=scratch, PYTHONPATH="")
        return
    coverage = (BIN / "python", "-m", "coverage")
    run(*coverage, "run", *pytest, cwd=scratch, PYTHONPATH="")
    run(*coverage, "combine", "--quiet", cwd=scratch)
    run(*coverage, "report", cwd=scratch)


def main() -> int:
    if sys.version_info < (3, 11):
        print("asi_image_async needs Python 3.11 or newer; this is", sys.version.split()[0])
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        try:
            install(Path(scratch))
            if not LEAST:
                look()
            test(Path(scratch), sys.argv[1 + LEAST :])
        except subprocess.CalledProcessError as failed:
            print("failed:", *failed.cmd, file=sys.stderr)
            return 1
    print("everything holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
