"""The pilot's error codes, exit codes and exceptions (numbers as in PanDA's pilot; the words are ours)."""

from __future__ import annotations

import enum
import errno


class Code(int, enum.Enum):
    """`pilot_error_code` of a failed job; `docs/pilot.md` says who must act on which."""

    NO_LOCAL_SPACE = 1098
    STAGE_IN_FAILED = 1099
    WORK_DIR_TOO_LARGE = 1104
    OUTPUT_FLOOD = 1106
    OUTPUT_FILE_TOO_LARGE = 1124
    NO_STORAGE = 1133
    STAGE_OUT_FAILED = 1137
    KILLED_BY_SERVER = 1144
    INPUT_MD5_MISMATCH = 1145
    TRANSFORM_DOWNLOAD_FAILED = 1149
    LOOPING = 1150
    OUTPUT_MISSING = 1165
    INPUT_ADLER32_MISMATCH = 1171
    SIGTERM = 1201
    SIGQUIT = 1202
    SIGXCPU = 1204
    SIGUSR1 = 1207
    SIGINT = 1208
    OUT_OF_MEMORY = 1212
    OUT_OF_TIME = 1213
    MEMORY_LIMIT = 1235
    NOT_IMPLEMENTED = 1300
    FILE_HANDLING = 1303
    PAYLOAD_FAILED = 1305
    LISTS_DIFFER_IN_LENGTH = 1312
    NO_STORAGE_PROTOCOL = 1313
    UNKNOWN_CHECKSUM = 1314
    PILOT_PROBLEM = 1319
    LOG_NOT_MADE = 1320
    UNKNOWN_COPYTOOL = 1323
    PAYLOAD_SEGFAULT = 1328
    INPUT_MISSING = 1331
    TRANSFORM_NOT_FOUND = 1346
    PREPROCESS_FAILED = 1356
    POSTPROCESS_FAILED = 1357
    BAD_FILE_NAME = 1371
    LEASE_LOST = 1375
    NO_CONTAINERS_HERE = 1384


class Exit(enum.IntEnum):
    """How the pilot process ends; 0 also covers failed jobs. 2 is argparse's, 128 + signal a signal's."""

    DONE = 0
    NO_WORK_DIR = 66
    NO_SPACE = 69
    CRASHED = 70
    NO_QUEUE_DATA = 71
    BAD_QUEUE_DATA = 72
    NO_PROCESSES = 75
    QUEUE_NOT_ACTIVE = 78
    SERVER_AWAY = 79
    LIFETIME_OVER = 81
    QUEUE_OFFLINE = 83


class PilotError(Exception):
    """A job cannot go on; carries the code and the sentence the server will store."""

    def __init__(self, code: Code, diag: str) -> None:
        super().__init__(diag)
        self.code = code
        self.diag = diag


def from_os_error(what: str, error: OSError, otherwise: Code = Code.FILE_HANDLING) -> PilotError:
    """Turn an operating system's refusal into a job's failure; a full disk has its own code."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return PilotError(Code.NO_LOCAL_SPACE, f"{what}: no space left on this machine's disk")
    if error.errno == errno.EAGAIN:
        return PilotError(otherwise, f"{what}: this machine lets the pilot start no more processes (ulimit -u)")
    return PilotError(otherwise, f"{what}: {error}")


class PilotExit(Exception):
    """The pilot itself cannot go on; carries its exit code."""

    def __init__(self, exit_code: int, why: str) -> None:
        super().__init__(why)
        self.exit_code = exit_code


class ServerAway(Exception):
    """No usable answer came: connection refused or lost, time-out, HTTP 429 or 5xx, unreadable text."""


class Refused(Exception):
    """The server understood and said no; asking the same again is pointless."""


class StaleAttempt(Refused):
    """The job belongs to another attempt now: drop it, write nothing, report nothing."""


class Cancelled(Exception):
    """Work for a job stops here because the job was interrupted; the reason is kept in the job."""
