"""The payload of a campaign's jobs. It runs by itself, with nothing but the standard library.

`work.py INPUT FOLDER`: holds a lock on its input while it works, which the kernel frees with the process, so that a
busy lock is a second run at the same time. Each line it leaves is on disk before it goes on. Its output says which
attempt made it. Most runs are short, so that many end; some are long, so that a job which is given away too early, or
to two, is still at work then.
"""

import fcntl
import json
import os
import random
import sys
import time

SHORT_SECONDS, LONG_SECONDS = (0.1, 0.4), (3.0, 7.0)
LONG_ONES = 0.15


def main() -> None:
    name, folder = sys.argv[1:]
    pandaid, attempt_nr = int(os.environ["PANDAID"]), int(os.environ["PANDA_ATTEMPT_NR"])
    key = f"{os.environ['PanDA_TaskID']}.{name}"  # noqa: SIM112 - PanDA's spelling
    log = os.open(f"{folder}/{key}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(what: str) -> None:
        line = {"what": what, "pandaid": pandaid, "attempt_nr": attempt_nr, "at": time.monotonic()}
        os.write(log, json.dumps(line).encode() + b"\n")
        os.fsync(log)

    lock = os.open(f"{folder}/{key}.lock", os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("overlap")
    note("start")
    rng = random.Random(f"{pandaid}.{attempt_nr}")  # noqa: S311 - to be repeated, not to be secret
    time.sleep(rng.uniform(*(LONG_SECONDS if rng.random() < LONG_ONES else SHORT_SECONDS)))
    with open(name) as source, open("n.txt", "w") as sink:  # noqa: PTH123 - as fast as can be
        sink.write(f"{source.read()} {pandaid}.{attempt_nr}")
    note("end")


if __name__ == "__main__":
    main()
