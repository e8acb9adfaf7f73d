"""`bamboo queue`: the users' commands, and those that need the database itself."""

from __future__ import annotations

from ...client.cli import queue as users
from ...client.cli.lazy import LazyGroup

HERE = "bamboo.admin.cli"

queue = LazyGroup(
    "queue",
    help=users.queue.help,
    commands=users.queue.commands,
    lazy={
        "import": (f"{HERE}.queue_import:import_documents", "Import queues, sites and storages from files or URLs."),
        "export": (f"{HERE}.queue_import:export", "Print the imported queues as one JSON document."),
        "software": (f"{HERE}.queue_import:software", "Print what queues publish of their software."),
        "sources": (
            f"{HERE}.queue_import:sources",
            "Show what is imported from where, and what is wrong since when.",
        ),
    },
)
