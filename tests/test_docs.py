"""The README does what it says."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import KEY
from help_texts import COMMANDS
from service import Service

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def test_it_opens_with_two_commands_of_one_line_each() -> None:
    assert len(SHELL) == 2
    assert all(len(block.strip().splitlines()) == 1 for block in SHELL)
    assert README.index("```sh") < README.index("## ")


@pytest.mark.anyio
@pytest.mark.parametrize("code", [code for code in PYTHON if "async with" in code and "def " not in code])
async def test_its_python_runs(
    code: str, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASI_ONE_API_KEY", KEY)
    monkeypatch.setenv("ASI_ONE_BASE_URL", service.base_url)
    monkeypatch.chdir(tmp_path)
    code = code.replace('"3/min"', '"300/min"')  # its six requests would take a minute
    program = compile(code, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await eval(program, {})
    assert service.bodies


def test_its_example_of_a_test_passes(pytester: pytest.Pytester) -> None:
    (code,) = [code for code in PYTHON if "asi_emulator" in code]
    pytester.makepyfile(code)
    pytester.runpytest_subprocess("-q").assert_outcomes(passed=1)


@pytest.mark.parametrize("line", re.findall(r"^    (asi-image [a-z]+.*)$", README, re.MULTILINE))
def test_every_command_and_option_that_it_shows_exists(line: str) -> None:
    command, *arguments = shlex.split(line)[1:]
    shown = subprocess.run(
        [sys.executable, "-m", "asi_image_async", command, "--help"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for option in (argument for argument in arguments if argument.startswith("-")):
        assert option in shown


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_its_help_texts_are_those_of_the_commands(name: str) -> None:
    """`python tests/help_texts.py` writes them anew. How they are laid out is typer's, and differs."""
    found = re.search(rf"\$ asi-image {name} --help\n(.*?)(\n\$|```)", README, re.DOTALL)
    assert found
    command = COMMANDS[name]
    options = [option for each in command.params for option in each.opts if option.startswith("-")]
    words = [command.help, *(each.help or "" for each in command.params), *options]
    text = "".join(found[1].split())
    assert not [each for each in words if "".join(each.split()) not in text]
    long = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
    assert set(long.findall(found[1])) <= {"--help", *long.findall(" ".join(words))}


def test_its_prompts_are_there_and_can_be_read() -> None:
    from asi_image_async.prompts import read_prompts

    assert len(read_prompts(ROOT / "examples" / "prompts.txt")) == 12


def test_its_map_names_every_room() -> None:
    table = README[README.index("## Architecture") :]
    package = Path(__import__("asi_image_async").__file__).parent
    rooms = {path.stem for path in package.glob("*") if path.suffix in ("", ".py")}
    rooms |= {path.stem for folder in ("core", "runtime") for path in (package / folder).glob("*")}
    missing = {room for room in rooms if not room.startswith("__") and room not in table}
    assert not missing, textwrap.shorten(str(missing), 200)
