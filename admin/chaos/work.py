"""The payload of a campaign's jobs. It runs by itself, with nothing but the standard library.

`work.py INPUT FOLDER`: holds a lock on its input while it works, which the kernel frees with the process, so that a
busy lock is a second run at the same time. Each line it leaves is on disk before it goes on.
"""

import fcntl
import json
import os
import sys
import time

WORK_SECONDS = 0.2


def main() -> None:
    name, folder = sys.argv[1:]
    key = f"{os.environ['PanDA_TaskID']}.{name}"  # noqa: SIM112 - PanDA's spelling
    log = os.open(f"{folder}/{key}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(what: str) -> None:
        line = {"what": what, "pandaid": int(os.environ["PANDAID"]), "at": time.monotonic()}
        os.write(log, json.dumps(line).encode() + b"\n")
        os.fsync(log)

    lock = os.open(f"{folder}/{key}.lock", os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("overlap")
    note("start")
    time.sleep(WORK_SECONDS)
    with open(name) as source, open("n.txt", "w") as sink:  # noqa: PTH123 - as fast as can be
        sink.write(source.read())
    note("end")


if __name__ == "__main__":
    main()
