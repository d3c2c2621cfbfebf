"""What was finished, kept so that no crash forgets it: sole owner of sqlite3.

`database` is the file itself, `writing` the run that holds it; `summary`, a look at it from outside, is a
door of its own, which no run needs.
"""

from .database import Claim, State
from .writing import Journal

__all__ = ["Claim", "Journal", "State"]
