"""When the next request may go out: as the told limits and what the service's refusals teach allow.

Nothing here waits: the gate asks `opens_at`, waits, and tells what became of each request. Times are
seconds on any clock that only goes forward.
"""

from .refusals import Pace
from .windows import Turn, Windows, margin

__all__ = ["Pace", "Turn", "Windows", "margin"]
