"""The states of every object, as tables: what each means, who moves it on, and where it may go.

Everything reads these tables: CHECK constraints, the functions that move objects, the docs page (`docs/states.md`)
and the tests.
"""

from .machine import Row, StateTable
from .tables import (
    EVENTS,
    INPUT_DATASETS,
    INPUT_FILES,
    JOBS,
    LEASED,
    OUTPUT_DATASETS,
    OUTPUT_FILES,
    QUEUED,
    TABLES,
    TASKS,
)
from .words import (
    EventState,
    InputDatasetState,
    InputFileState,
    JobState,
    OutputDatasetState,
    OutputFileState,
    TaskState,
)

__all__ = [
    "EVENTS",
    "INPUT_DATASETS",
    "INPUT_FILES",
    "JOBS",
    "LEASED",
    "OUTPUT_DATASETS",
    "OUTPUT_FILES",
    "QUEUED",
    "TABLES",
    "TASKS",
    "EventState",
    "InputDatasetState",
    "InputFileState",
    "JobState",
    "OutputDatasetState",
    "OutputFileState",
    "Row",
    "StateTable",
    "TaskState",
]
