"""Maps the repository root to the import package `bamboo`; the rest is in pyproject.toml.

The rooms are listed by hand: a folder that is not listed is not shipped.
"""

from setuptools import setup

ROOMS = [
    "core",
    "core.states",
    "sql",
    "sql.tables",
    "sql.migrations",
    "sql.migrations.versions",
    "plugins",
    "plugins.generic",
    "plugins.pilot_copytools",
    "plugins.production",
    "server",
    "server.api",
    "server.auth",
    "server.live",
    "server.old_style",
    "server.transforms",
    "server.views",
    "server.why",
    "jedi",
    "jedi.agents",
    "jedi.scouts",
    "daemon",
    "daemon.chores",
    "pilot",
    "pilot.copytools",
    "client",
    "client.cli",
    "admin",
    "admin.chaos",
    "admin.cli",
    "admin.doctor",
    "admin.payloads",
    "configs",
]

setup(
    package_dir={"bamboo": "."},
    packages=["bamboo", *(f"bamboo.{room}" for room in ROOMS)],
)
