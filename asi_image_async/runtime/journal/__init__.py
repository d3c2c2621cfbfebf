"""What was finished, kept so that no crash forgets it: sole owner of sqlite3.

`database` is the file itself, `writing` the run that holds it, `summary` a look at it from outside.
"""

from .database import Claim, State
from .summary import JournalSummary, count_states, find_missing, read_summary
from .writing import Journal

__all__ = ["Claim", "Journal", "JournalSummary", "State", "count_states", "find_missing", "read_summary"]
