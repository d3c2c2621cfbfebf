"""The names that people type, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points, requires

import asi_image_async
from asi_image_async import errors

NAMES = """
ImageSession ImageRequest Generation Image Usage Outcome Done Failed RunReport Receipt RateLimit RetryPolicy
Sink DiskSink MemorySink CallbackSink open_sink
""".split()
ERRORS = """
AsiImageError ConfigurationError APIError APIConnectionError APITimeoutError APIStatusError BadRequestError
AuthenticationError PermissionDeniedError NotFoundError RateLimitError QuotaExceededError ServerError
InvalidResponseError SinkError JournalError BudgetExceededError
""".split()
EXTRAS = ("rich", "typer", "PIL", "ray", "pyarrow", "obstore", "opentelemetry", "uvloop")


def test_the_names_are_those_that_are_promised_and_no_others() -> None:
    assert sorted(asi_image_async.__all__) == sorted(NAMES)
    assert sorted(errors.__all__) == sorted(ERRORS)
    assert all(hasattr(asi_image_async, name) for name in NAMES)


def test_none_of_the_names_loads_an_extra() -> None:
    opened = "from asi_image_async import *; from asi_image_async.errors import *"
    program = f"import sys; {opened}; print(*set({EXTRAS!r}) & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == ""


def test_the_runtime_needs_five_libraries_and_no_more() -> None:
    needed = {
        line.split(";")[0].strip().split(">")[0].split("[")[0]
        for line in requires("asi_image_async") or ()
        if "extra ==" not in line
    }
    assert needed == {"aiohttp", "aiolimiter", "anyio", "pybase64", "pydantic"}


def test_the_command_and_the_fixture_are_announced() -> None:
    assert {point.name for point in entry_points(group="console_scripts")} >= {"asi-image"}
    assert {point.name for point in entry_points(group="pytest11")} >= {"asi_image_async"}


def test_errors_are_found_by_what_they_are() -> None:
    assert issubclass(errors.QuotaExceededError, errors.RateLimitError)
    assert issubclass(errors.APITimeoutError, errors.APIConnectionError)
    assert issubclass(errors.ConfigurationError, ValueError)
    for name in ERRORS:
        assert issubclass(getattr(errors, name), errors.AsiImageError)


def test_the_names_are_found_without_an_import_of_their_rooms() -> None:
    program = (
        "import asi_image_async as a, sys; assert 'aiohttp' not in sys.modules;"
        "a.ImageSession; a.errors.APIError; assert set(a.__all__) <= set(dir(a)); print(a.Usage.__name__)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "Usage"
    assert not hasattr(asi_image_async, "nothing_of_the_kind")
