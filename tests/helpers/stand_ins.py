"""Pilots whose payloads take no time: they take jobs from several servers in turn, and report by whichever is up."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any

from patience import PATIENCE_SECONDS

#: A pilot that got no job asks again after this.
PAUSE_SECONDS = 0.05
UNREACHABLE = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


class StandIns:
    """Some pilots, each a thread; a job is only begun where `allow` has allowed so many.

    A request that got no answer is repeated at the next server, as one that must not be carried out twice.
    """

    def __init__(self, urls: Sequence[str], queues: Sequence[str], n_pilots: int) -> None:
        self.taken: list[tuple[int, int]] = []  #: (pandaid, attempt) of each job that a pilot was given
        self.unanswered: Counter[str] = Counter()  #: requests without an answer, by server
        self.waiting: Counter[str] = Counter()  #: requests that are out now, by server
        self.refused: list[str] = []  #: what no pilot should ever hear
        self._urls, self._queues = list(urls), list(queues)
        self._permits = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._be_pilot, args=(number,)) for number in range(n_pilots)]

    def __enter__(self) -> StandIns:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.allow(len(self._threads))
        for thread in self._threads:
            thread.join()

    def allow(self, n_jobs: int) -> None:
        """Let the pilots work on so many more jobs."""
        self._permits.release(n_jobs)

    def _be_pilot(self, number: int) -> None:
        turns = itertools.count(number)
        while self._permits.acquire() and not self._stop.is_set():
            job = None
            while job is None and not self._stop.wait(PAUSE_SECONDS):
                job = self._claim(next(turns), f"pilot{number}")
            if job is not None:
                self._run(next(turns), job)

    def _claim(self, turn: int, name: str) -> dict[str, Any] | None:
        queue = self._queues[turn // len(self._urls) % len(self._queues)]
        wanted = {"computing_element": queue, "prod_source_label": "user", "node": name, "pilot_id": name}
        told = self._ask(turn, "acquire_jobs", wanted)
        if not told.get("success"):
            return None
        (job,) = told["data"]["jobs"]
        with self._lock:
            self.taken.append((job["PandaID"], job["attemptNr"]))
        return dict(job)

    def _run(self, turn: int, job: dict[str, Any]) -> None:
        about = {"job_id": job["PandaID"], "attempt_nr": job["attemptNr"]}
        entry = {"guid": "", "fsize": 3, "adler32": "00000002", "surl": "file:///out"}
        made = [*job["outFiles"].split(","), job["logFile"]]
        outputs = json.dumps(dict.fromkeys(filter(None, made), entry))
        reports = ({"job_status": "running"}, {"job_status": "finished", "job_output_report": outputs})
        for following, report in enumerate(reports):
            told = self._ask(turn + following, "update_job", {**about, **report})
            if not told.get("success") and not self._stop.is_set():
                self.refused.append(f"{about}: {told}")

    def _ask(self, turn: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask the servers in turn until one answers."""
        key = uuid.uuid4().hex
        for tries in itertools.count():
            url = self._urls[(turn + tries) % len(self._urls)]
            headers = {"Content-Type": "application/json", "Idempotency-Key": key, "X-Retry": str(tries)}
            request = urllib.request.Request(  # noqa: S310 - an address of ours
                f"{url}/api/v1/pilot/{path}", json.dumps(body).encode(), headers
            )
            self._count(self.waiting, url, 1)
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:  # noqa: S310
                    return dict(json.load(answer))
            except urllib.error.HTTPError as error:
                with error:
                    return {"success": False, "told": f"HTTP {error.code} {error.read().decode()}"}
            except UNREACHABLE:
                self._count(self.unanswered, url, 1)
            finally:
                self._count(self.waiting, url, -1)
            if self._stop.is_set():
                break
            time.sleep(PAUSE_SECONDS)
        return {}

    def _count(self, counter: Counter[str], url: str, n: int) -> None:
        with self._lock:
            counter[url] += n
