"""The flight record of a job: what its pilot noted while it ran, as a bounded row of samples and the end of its output.

A sample is a list of numbers in the order of `SAMPLE`. Pilots send what is new, servers put it together; both keep no
more than a bound, however long a job runs.
"""

from __future__ import annotations

from collections.abc import Sequence

#: What a sample has: epoch seconds, memory of the process tree (PSS is the last that was measured, 0 before the first
#: look at it), and what the job has used since it began: CPU seconds, and kB read from and written to disks.
SAMPLE = ("at", "rss_kb", "pss_kb", "cpu_seconds", "read_kb", "written_kb")
#: What a process of the tree has; `state` is the kernel's letter: R runs, S and D wait, T is stopped, Z is dead.
PROCESS = ("pid", "ppid", "name", "rss_kb", "state")
#: Samples that the server keeps of a job.
MOST_SAMPLES = 256
#: Samples and processes that a pilot sends at a time.
MOST_SENT = 64
MOST_PROCESSES = 40
#: Bytes that the server keeps of the end of each stream, and that a pilot sends at a time.
KEPT_BYTES = 32 << 10
SENT_BYTES = 8 << 10

Sample = list[float]


def thinned(samples: Sequence[Sample], most: int) -> list[Sample]:
    """At most so many samples (two or more) over the same time: of two neighbours that with more memory, and the last.

    So the peak is always among them, and the recent past is as dense as the beginning.
    """
    kept = list(samples)
    while len(kept) > most:
        *others, last = kept
        pairs = [others[at : at + 2] for at in range(0, len(others), 2)]
        kept = [*(max(pair, key=lambda sample: sample[1]) for pair in pairs), last]
    return kept


def joined(text: str, end: int, more: str, at: int, most: int = KEPT_BYTES) -> tuple[str, int]:
    """The end of an output whose bytes up to `end` are known to close with `text`, after a piece that begins at `at`.

    Returns what is known now, at most so many bytes, and where it ends. What was sent twice counts once; before a gap
    nothing is kept.
    """
    known, new = text.encode(), more.encode()
    if at + len(new) <= end:
        return text, end
    if at > end:
        known = b""
    both = known + new[max(0, end - at) :]
    return both[-most:].decode("utf-8", "ignore"), at + len(new)


def after(text: str, end: int, seen: int) -> str:
    """Of an output that ends at `end` with `text`, what somebody has not seen who knows all bytes before `seen`."""
    return text.encode()[max(0, seen - end + len(text.encode())) :].decode("utf-8", "ignore") if seen < end else ""
