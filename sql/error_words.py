"""What people are told when the database refuses something: what it was, never the statement or its values."""

from __future__ import annotations

import sqlalchemy as sa

#: How much of the database's own sentence is told.
_SHOWN = 200


def in_words(error: Exception) -> str:
    """An error that nobody foresaw, as a reason for people: its kind and its sentence.

    Errors of SQLAlchemy have the statement in their text, with the values of others in it; that is for the log.
    """
    if not isinstance(error, sa.exc.SQLAlchemyError):
        return f"{type(error).__name__}: {error}"
    cause = error.orig if isinstance(error, sa.exc.StatementError) else error.args[0] if error.args else ""
    sentence = str(cause or "").strip().partition("\n")[0][:_SHOWN]
    kind = type(error).__name__
    return f"the database refused it ({kind}{': ' + sentence if sentence else ''}); its operator finds more in the log"
