"""Which chores run when nothing is configured, and what PanDA's daemon scripts are called here."""

from __future__ import annotations

from ..core.settings import DaemonEntry

#: The package of our chores, and the one that PanDA's configuration names.
OUR_PACKAGE = "bamboo.daemon.chores"
PANDA_PACKAGE = "pandaserver.daemons.scripts"

DEFAULT_ENTRIES = {
    "adder": DaemonEntry(period=5, loop=True),
    "watcher": DaemonEntry(period=60, sync=True),
    "activator": DaemonEntry(period=60, sync=True),
    "closer": DaemonEntry(period=60, sync=True),
    "aggregates": DaemonEntry(period=30, sync=True),
    "historian": DaemonEntry(period=60, sync=True),
    "archive": DaemonEntry(period=600, sync=True, loop=True),
    "tmpwatch": DaemonEntry(period=3600),
    "cleaner": DaemonEntry(period=600, sync=True),
    "configurator": DaemonEntry(period=200, sync=True),
    "network_configurator": DaemonEntry(module="configurator", arguments=("--network",), period=400, sync=True),
}

#: PanDA's scripts (manual ch. 7.2.2) and the chores that do their work here.
COUNTERPARTS = {
    "add": ("adder",),
    "add_main": ("adder",),
    "add_sub": ("activator", "aggregates"),
    "configurator": ("configurator",),
    "copyArchive": ("watcher", "archive"),
    "datasetManager": ("closer", "cleaner"),
    "tmpwatch": ("tmpwatch",),
}

#: PanDA's scripts that have no counterpart, and why none is needed or where else to look.
NOT_PROVIDED = {
    "async_request_daemon": "requests are answered at once",
    "cache_pilots": "the pilot is built by `bamboo pilot build`",
    "cache_sched_config": "queues are read from the database",
    "cache_schedconfig": "queues are read from the database",
    "carbon": "carbon footprints are not computed",
    "datasetCallbackListener": "data management systems send no callbacks here",
    "dummy_test": "it does nothing",
    "evpPD2P": "data are not placed by their popularity",
    "hs_scrapers": "benchmark figures are not collected",
    "metric_collector": "metrics are served by the server",
    "panda_activeusers_query": "no user credentials are cached",
    "pilotStreaming": "pilots are started by submitters",
    "process_workflow_files_daemon": "workflows are not described on the server",
    "recover_lost_files_daemon": "lost files are recovered with `bamboo task retry`",
    "task_evaluator": "tasks are not evaluated by their past",
    "worker_synchronization": "workers are kept by Harvester",
}
