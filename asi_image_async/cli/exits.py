"""How the command ends: one exit status for each kind of end, and no traceback."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from enum import IntEnum

from ..errors import (
    APIStatusError,
    AsiImageError,
    AuthenticationError,
    BudgetExceededError,
    ConfigurationError,
    JournalError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    SinkError,
)
from ..outcomes import RunReport
from ..policies import RetryPolicy
from .speech import Voice, visible

__all__ = ["PATIENCE", "ExitStatus", "guarded", "status_of_error", "status_of_report"]

PATIENCE = RetryPolicy().max_wait  # seconds; a longer wait is something to come back after
_DEBUG = "ASI_IMAGE_DEBUG"


class ExitStatus(IntEnum):
    """What a script is told; interrupted by signal n is 128 + n."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    STOPPED = 3
    COME_BACK = 4
    INTERRUPTED = 130


def status_of_error(error: AsiImageError) -> ExitStatus:
    """The status for an error that ended everything."""
    match error:
        case QuotaExceededError() | BudgetExceededError():
            return ExitStatus.COME_BACK
        case APIStatusError(retry_after=float() | int() as wait) if wait > PATIENCE:
            return ExitStatus.COME_BACK
        case AuthenticationError() | PermissionDeniedError() | NotFoundError() | SinkError():
            return ExitStatus.STOPPED
        case ConfigurationError() | JournalError():
            return ExitStatus.USAGE
    return ExitStatus.FAILED


def status_of_report(report: RunReport, *, fail_fast: bool) -> ExitStatus:
    """The status of a run that was not interrupted; with `fail_fast` a prompt's own failure stops it."""
    stop = report.stopped_by
    if stop is None:
        return ExitStatus.FAILED if report.failed or report.unknown else ExitStatus.DONE
    if isinstance(stop, JournalError | SinkError):
        return ExitStatus.STOPPED
    if fail_fast and any(failure.error is stop for failure in report.failures):
        return ExitStatus.FAILED
    status = status_of_error(stop)
    return status if status is ExitStatus.COME_BACK else ExitStatus.STOPPED


def guarded(command: Callable[[], int]) -> int:
    """Run a command and return its status; whatever it raises is told in a line or two."""
    debug = bool(os.environ.get(_DEBUG))
    if not debug:  # what libraries log would come out as tracebacks between our lines
        logging.getLogger().addHandler(logging.NullHandler())
    try:
        return command()
    except AsiImageError as error:
        Voice().complain(error)
        return status_of_error(error)
    except KeyboardInterrupt:
        Voice().say("interrupted")
        return ExitStatus.INTERRUPTED
    except Exception as error:
        if debug:
            raise
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        Voice().label("unexpected error", visible(what), "bold red")
        Voice().label("hint", f"this is a bug, please report it; {_DEBUG}=1 shows the traceback", "cyan")
        return ExitStatus.FAILED
