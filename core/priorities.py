"""What priorities mean: what a task has of which nobody says anything, and which are high.

Users start with 1000, each of them (manual ch. 4.1, "How job priorities are calculated?"; PanDA's server gives it to
their tasks, client protocol 6.2). So 1000 says nothing there, though the rules for production call 800 high, and 1000
urgent (ch. 12.1, 12.1.3). The manual has no priority for production of which nobody says anything; ours is below those.
"""

from __future__ import annotations

USUAL_OF_USERS = 1000
USUAL_OF_PRODUCTION = 500
#: The activities that are open to every user: their jobs, the builds before them, and tests.
USERS = ("user", "panda", "test")


def usual(label: str) -> int:
    """The priority of a task of an activity (`prodSourceLabel`) that is given none."""
    return USUAL_OF_USERS if label in USERS else USUAL_OF_PRODUCTION


def is_high(priority: int, label: str, limit: float) -> bool:
    """Whether a priority is as high as a limit of the rules for production; those of users only beyond their usual."""
    return priority >= limit and (label not in USERS or priority > USUAL_OF_USERS)
