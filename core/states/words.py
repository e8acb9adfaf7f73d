"""The words for the states of every object. A state is its word: it compares, prints and travels as that word."""

from __future__ import annotations

from enum import StrEnum


class TaskState(StrEnum):
    REGISTERED = "registered"
    DEFINED = "defined"
    ASSIGNING = "assigning"
    TOPREPROCESS = "topreprocess"
    PREPROCESSING = "preprocessing"
    READY = "ready"
    PENDING = "pending"
    SCOUTING = "scouting"
    SCOUTED = "scouted"
    RUNNING = "running"
    THROTTLED = "throttled"
    PAUSED = "paused"
    EXHAUSTED = "exhausted"
    PASSED = "passed"
    PREPARED = "prepared"
    DONE = "done"
    FINISHED = "finished"
    FAILED = "failed"
    FINISHING = "finishing"
    ABORTING = "aborting"
    ABORTED = "aborted"
    TOBROKEN = "tobroken"
    BROKEN = "broken"
    TORETRY = "toretry"
    TOINCEXEC = "toincexec"
    REREFINE = "rerefine"


class JobState(StrEnum):
    PENDING = "pending"
    DEFINED = "defined"
    WAITING = "waiting"
    ASSIGNED = "assigned"
    THROTTLED = "throttled"
    ACTIVATED = "activated"
    SENT = "sent"
    STARTING = "starting"
    RUNNING = "running"
    HOLDING = "holding"
    MERGING = "merging"
    TRANSFERRING = "transferring"
    FINISHED = "finished"
    FAILED = "failed"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class InputDatasetState(StrEnum):
    DEFINED = "defined"
    TOUPDATE = "toupdate"
    PENDING = "pending"
    BROKEN = "broken"
    READY = "ready"
    DONE = "done"


class OutputDatasetState(StrEnum):
    DEFINED = "defined"
    READY = "ready"
    RUNNING = "running"
    PREPARED = "prepared"
    DONE = "done"


class InputFileState(StrEnum):
    READY = "ready"
    MISSING = "missing"
    LOST = "lost"
    BROKEN = "broken"
    PICKED = "picked"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    PARTIAL = "partial"


class OutputFileState(StrEnum):
    DEFINED = "defined"
    RUNNING = "running"
    PREPARED = "prepared"
    MERGING = "merging"
    FINISHED = "finished"
    FAILED = "failed"


class EventState(StrEnum):
    READY = "ready"
    SENT = "sent"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"
    DONE = "done"
    FAILED = "failed"
    FATAL = "fatal"
    MERGED = "merged"
    CORRUPTED = "corrupted"
