"""The state tables. Sources: PanDA's manual, chapters 2.4 (tasks), 2.5 (jobs) and 7.1.3 (datasets, files, events)."""

from __future__ import annotations

from typing import Any

from .machine import StateTable
from .words import (
    EventState,
    InputDatasetState,
    InputFileState,
    JobState,
    OutputDatasetState,
    OutputFileState,
    TaskState,
)

_T = TaskState
_STOP = "aborting finishing"  # the kill and finish commands reach every state that is not over
_LIVE = "registered defined assigning topreprocess ready scouting scouted running"
_WORK = f"pending throttled paused exhausted prepared {_STOP} tobroken"

TASKS = StateTable(
    "task",
    "manual, chapter 2.4",
    TaskState,
    {
        _T.REGISTERED: (
            "the task was injected",
            "Task Refiner, in its next round",
            f"defined tobroken pending paused {_STOP}",
        ),
        _T.DEFINED: (
            "all parameters were parsed",
            "Contents Feeder, once every input dataset is looked up",
            f"assigning topreprocess ready pending paused exhausted prepared {_STOP} tobroken",
        ),
        _T.ASSIGNING: (
            "a storage is being chosen for the outputs",
            "Task Broker, in its next round",
            f"ready pending paused {_STOP} tobroken",
        ),
        _T.TOPREPROCESS: (
            "ready for the preprocessing step",
            "Job Generator, when it submits the preprocessing job",
            f"preprocessing pending paused {_STOP} tobroken",
        ),
        _T.PREPROCESSING: (
            "the preprocessing step runs",
            "adder, when the preprocessing job is over",
            f"registered defined paused {_STOP} tobroken",
        ),
        _T.READY: (
            "ready to generate jobs",
            "Job Generator, when it submits the first jobs",
            f"scouting running {_WORK}",
        ),
        _T.PENDING: (
            "a passing problem: no dataset, no queue",
            "the agent that set it, when the problem is gone; Watch Dog, when it lasts too long",
            f"{_LIVE} paused exhausted prepared {_STOP} tobroken",
        ),
        _T.SCOUTING: (
            "scout jobs measure the payload",
            "Scout Evaluator, when half of the scouts are done; the avalanche command",
            f"scouted running {_WORK}",
        ),
        _T.SCOUTED: (
            "the scouts' figures are in",
            "Job Generator, when it submits the remaining jobs",
            f"running {_WORK}",
        ),
        _T.RUNNING: (
            "jobs are generated and run",
            "adder, when the last input is accounted for; Watch Dog, when the goal is reached",
            f"passed {_WORK}",
        ),
        _T.THROTTLED: (
            "no new jobs for a while: too many are queued",
            "Watch Dog, when the throttle interval is over",
            f"ready scouting scouted running paused prepared {_STOP} tobroken",
        ),
        _T.PAUSED: (
            "does nothing until it is resumed",
            "Task Commando, on the resume command: back to the state before",
            f"{_LIVE} pending throttled prepared {_STOP}",
        ),
        _T.EXHAUSTED: (
            "the figures or failures need the user's decision",
            "Task Commando, on retry, avalanche or finish; Watch Dog, when nobody decides",
            f"ready running toretry toincexec prepared finished failed {_STOP} tobroken",
        ),
        _T.PASSED: (
            "the goal is reached; the last jobs are awaited",
            "Watch Dog, when the last job is over",
            f"prepared {_STOP}",
        ),
        _T.PREPARED: (
            "every input is accounted for",
            "Post Processor, in its next round",
            "done finished failed aborting tobroken",
        ),
        _T.DONE: ("every input was processed", "Task Commando, on reload_input", "toincexec"),
        _T.FINISHED: (
            "a part of the inputs was processed",
            "Task Commando, on retry or reload_input",
            "toretry toincexec",
        ),
        _T.FAILED: ("no input was processed", "Task Commando, on retry or reload_input", "toretry toincexec"),
        _T.FINISHING: (
            "no new jobs; the running ones are awaited (soft) or killed (hard)",
            "Watch Dog, when the last job is over",
            "prepared aborting tobroken",
        ),
        _T.ABORTING: (
            "got the kill command; its jobs are being killed",
            "Watch Dog, when the last job is over",
            "aborted",
        ),
        _T.ABORTED: ("was killed", "Task Commando, on reload_input", "toincexec"),
        _T.TOBROKEN: ("is about to be broken", "Post Processor, in its next round", "broken"),
        _T.BROKEN: ("cannot work, for the reason shown", "nobody", ""),
        _T.TORETRY: (
            "got the retry command",
            "Task Commando: unsuccessful inputs become ready again",
            f"ready tobroken {_STOP}",
        ),
        _T.TOINCEXEC: (
            "got the reload_input command",
            "Task Commando: new parameters are stored",
            f"rerefine tobroken {_STOP}",
        ),
        _T.REREFINE: (
            "parameters change before the inputs are looked up again",
            "Task Refiner, in its next round",
            f"defined tobroken {_STOP}",
        ),
    },
)

_J = JobState
_DROP = "closed cancelled failed"

JOBS = StateTable(
    "job",
    "manual, chapter 2.5",
    JobState,
    {
        _J.PENDING: ("is generated", "Job Generator, once the job is set up", f"defined waiting {_DROP}"),
        _J.DEFINED: (
            "ready for the motion of its inputs",
            "activator; it is skipped when nothing has to move",
            f"assigned activated waiting throttled {_DROP}",
        ),
        _J.WAITING: (
            "waits for inputs that do not exist yet",
            "activator, when they exist",
            f"defined assigned activated {_DROP}",
        ),
        _J.ASSIGNED: (
            "inputs travel to the storage of the queue",
            "activator, when they have arrived",
            f"activated throttled {_DROP}",
        ),
        _J.THROTTLED: (
            "held back while its task is paused",
            "Task Commando, on the resume command",
            f"activated {_DROP}",
        ),
        _J.ACTIVATED: ("a pilot may take it", "server, when a pilot asks for work", f"sent throttled {_DROP}"),
        _J.SENT: (
            "a pilot has taken it",
            "server, on the pilot's first update; watcher, when that does not come",
            f"starting running holding activated {_DROP}",
        ),
        _J.STARTING: (
            "inputs are staged in",
            "server, on the pilot's next update; watcher, when the lease has run out",
            f"running holding transferring {_DROP}",
        ),
        _J.RUNNING: (
            "the payload runs",
            "server, on the pilot's final update; watcher, when the lease has run out",
            f"holding transferring {_DROP}",
        ),
        _J.HOLDING: (
            "left the machine; its report waits to be booked",
            "adder, in its next round",
            "merging transferring finished failed cancelled closed",
        ),
        _J.MERGING: (
            "its outputs wait to be merged",
            "adder, when the merge job is over",
            "transferring finished failed cancelled closed",
        ),
        _J.TRANSFERRING: (
            "its outputs travel to their destination",
            "adder, when they have arrived; watcher, when they do not",
            "merging finished failed cancelled closed",
        ),
        _J.FINISHED: ("outputs are registered, inputs accounted for", "nobody", ""),
        _J.FAILED: ("failed; its inputs are given back or given up", "nobody", ""),
        _J.CLOSED: ("ended by the system before it ran", "nobody", ""),
        _J.CANCELLED: ("killed by a command", "nobody", ""),
    },
)

#: States in which a pilot holds a lease on the job.
LEASED = (_J.SENT, _J.STARTING, _J.RUNNING)
#: States before any pilot has the job.
QUEUED = (_J.PENDING, _J.DEFINED, _J.WAITING, _J.ASSIGNED, _J.THROTTLED, _J.ACTIVATED)

_I = InputDatasetState
INPUT_DATASETS = StateTable(
    "input dataset",
    "manual, chapter 7.1.3",
    InputDatasetState,
    {
        _I.DEFINED: ("is entered", "Contents Feeder, in its next round", "ready pending broken toupdate"),
        _I.TOUPDATE: ("has to be looked up again", "Contents Feeder, in its next round", "ready pending broken"),
        _I.PENDING: ("cannot be looked up for now", "Contents Feeder, when it can", "ready broken toupdate"),
        _I.BROKEN: ("cannot be used at all", "Task Commando, on reload_input", "toupdate"),
        _I.READY: ("its files are known", "Post Processor, when the task ends", "done toupdate broken"),
        _I.DONE: ("all its files were processed", "Task Commando, on retry or reload_input", "ready toupdate"),
    },
)

_O = OutputDatasetState
OUTPUT_DATASETS = StateTable(
    "output dataset",
    "manual, chapter 7.1.3",
    OutputDatasetState,
    {
        _O.DEFINED: ("is entered", "Job Generator, when the task setupper has registered it", "ready running prepared"),
        _O.READY: ("may take files", "adder, with the first file", "running prepared"),
        _O.RUNNING: ("files are being added", "closer, when the task has no jobs left", "prepared"),
        _O.PREPARED: ("ready for post-processing", "Post Processor, when the task ends", "done running"),
        _O.DONE: ("complete", "adder, when the task is retried", "running"),
    },
)

_F = InputFileState
INPUT_FILES = StateTable(
    "input file",
    "manual, chapter 7.1.3",
    InputFileState,
    {
        _F.READY: (
            "may be used",
            "Job Generator, when it makes a job of it",
            "picked running missing lost broken failed",
        ),
        _F.MISSING: ("is not where the task runs", "Contents Feeder, when it is looked up again", "ready lost broken"),
        _F.LOST: ("was there and is gone", "Contents Feeder, when it is looked up again", "ready broken"),
        _F.BROKEN: ("is corrupt", "Contents Feeder, when it is looked up again", "ready"),
        _F.PICKED: (
            "is set aside for a job that is being set up",
            "Job Generator, when the job is submitted",
            "running ready",
        ),
        _F.RUNNING: ("one job uses it", "adder, when that job is over", "finished failed ready partial missing"),
        _F.FINISHED: ("was processed, once", "nobody; reload_input only adds files", ""),
        _F.FAILED: ("was tried too often", "Task Commando, on the retry command", "ready"),
        _F.PARTIAL: (
            "some of its events were processed, others tried too often",
            "Task Commando, on the retry command",
            "ready",
        ),
    },
)

_P = OutputFileState
OUTPUT_FILES = StateTable(
    "output file",
    "manual, chapter 7.1.3",
    OutputFileState,
    {
        _P.DEFINED: ("is planned", "Job Generator, when the job is submitted", "running failed"),
        _P.RUNNING: ("is being produced", "adder, when the job is over", "prepared finished failed"),
        _P.PREPARED: (
            "is produced and waits for the merge",
            "adder, when the merge job starts",
            "merging finished failed",
        ),
        _P.MERGING: ("is being merged", "adder, when the merge job is over", "prepared finished failed"),
        _P.FINISHED: ("is registered", "nobody", ""),
        _P.FAILED: ("was not produced", "nobody", ""),
    },
)

_E = EventState
EVENTS = StateTable(
    "event",
    "manual, chapter 7.1.3",
    EventState,
    {
        _E.READY: ("may be processed", "server, when a pilot asks for event ranges", "sent cancelled"),
        _E.SENT: ("a pilot has it", "server, on the pilot's update", "running finished failed cancelled ready fatal"),
        _E.RUNNING: ("is processed", "server, on the pilot's update", "finished failed cancelled fatal"),
        _E.FINISHED: (
            "was processed; its job still runs",
            "adder, when the job is over",
            "done discarded corrupted cancelled",
        ),
        _E.CANCELLED: ("its job was killed before it was processed", "Job Generator, when it is tried again", "ready"),
        _E.DISCARDED: ("its job was killed while merging", "Job Generator, when it is tried again", "ready"),
        _E.DONE: ("waits to be merged", "adder, when the merge job is over", "merged corrupted discarded"),
        _E.FAILED: ("was not processed", "Job Generator, when it is tried again", "ready fatal"),
        _E.FATAL: ("was tried too often", "Task Commando, on the retry command", "ready"),
        _E.MERGED: ("is in a merged output", "nobody", ""),
        _E.CORRUPTED: ("its archive cannot be read", "Job Generator, when it is tried again", "ready fatal"),
    },
)

#: Every table, in the order of the docs page.
TABLES: tuple[StateTable[Any], ...] = (TASKS, JOBS, INPUT_DATASETS, OUTPUT_DATASETS, INPUT_FILES, OUTPUT_FILES, EVENTS)
