"""What was finished, kept in SQLite so that no crash forgets it.

`database` is the file itself, `writing` the run that holds it; `summary`, a look at it from outside, is a
door of its own, which no run needs.
"""

from .database import Claim, State
from .writing import Journal

__all__ = ["Claim", "Journal", "State"]
