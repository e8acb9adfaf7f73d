"""Wires the pilot's components and runs them."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import queue
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import PILOT_VERSION
from .data_control import DataControl
from .errors import Exit, PilotExit, Refused, ServerAway
from .event_workflow import EventWorkflow
from .heartbeat import Heartbeat, Ring
from .job import Job
from .job_control import JobControl, Steps
from .job_monitor import JobMonitor
from .leftovers import HOME_PREFIX
from .listener import Listener
from .payload_command import Transformations
from .payload_control import PayloadControl
from .payload_process import PayloadKeeper
from .pilot_monitor import PilotMonitor, leave_on_signals, listen_to_signals
from .queue_data import QueueData, Storages
from .report import Reporter
from .server_calls import ServerCalls
from .slot import Slot
from .transport import Credentials, Transport, find_token

log = logging.getLogger(__name__)


def make_home(parent: Path) -> Path:
    """Make this pilot's own directory; raises PilotExit when the place is not writable or full."""
    home = (parent / f"{HOME_PREFIX}{os.getpid()}_{int(time.time())}").absolute()
    try:
        home.mkdir(parents=True)
        probe = home / "probe"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except OSError as error:
        code = Exit.NO_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else Exit.NO_WORK_DIR
        raise PilotExit(code, f"cannot use {home}: {error}; choose another place with -a") from error
    return home


def server_transport(options: argparse.Namespace) -> Transport:
    """Prepare the way to the server, with the token that the environment names."""
    setting = os.environ.get("PANDA_AUTH_TOKEN", "")
    credentials = Credentials(
        token=lambda: find_token(setting),
        origin=os.environ.get("PANDA_AUTH_ORIGIN", ""),
        cacert=options.cacert,
        capath=options.capath,
    )
    return Transport(options.base_url, credentials, f"pilot/{PILOT_VERSION}")


def read_start_up_documents(options: argparse.Namespace, server: ServerCalls) -> tuple[QueueData, Storages]:
    """Read what queue and storages are like; raises PilotExit when the queue cannot be served."""
    base = options.base_url
    queue_url = options.queuedata_url or f"{base}/cache/schedconfig/{{pandaqueue}}.all.json"
    queue_url = queue_url.replace("{pandaqueue}", quote(options.queue))
    try:
        queue_data = QueueData.parse(server.document(queue_url), options.queue)
    except (Refused, ServerAway) as error:
        raise PilotExit(Exit.NO_QUEUE_DATA, f"no queue data for {options.queue}: {error}") from error
    try:
        storages = server.document(options.storagedata_url or f"{base}/cache/ddmendpoints.json")
    except (Refused, ServerAway) as error:
        log.warning("no storage data, jobs with files will fail", extra={"event": "start", "problem": str(error)})
        storages = {}
    return queue_data, Storages(storages if isinstance(storages, dict) else {})


def run_pilot(options: argparse.Namespace, home: Path, keeper: PayloadKeeper) -> int:
    """Serve jobs until the pilot ends; gives its exit code. Raises PilotExit when it cannot begin."""
    begun = time.monotonic()
    leave_on_signals()
    transport = server_transport(options)
    queue_data, storages = read_start_up_documents(options, ServerCalls(transport))
    slot = Slot(options, home, queue_data, storages, ServerCalls(transport), keeper)
    slot.server = ServerCalls(transport, slot.pause)
    slot.setup_seconds = time.monotonic() - begun
    log.info(
        "pilot started",
        extra={
            "event": "start",
            "version": PILOT_VERSION,
            "queue": queue_data.name,
            "site": options.site,
            "home": home,
        },
    )
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    listen_to_signals(events)
    _start_components(events, slot)
    exit_code = PilotMonitor(events, slot).watch()
    log.info("pilot ends", extra={"event": "end", "exit_code": exit_code})
    return exit_code


def _start_components(events: queue.SimpleQueue[Any], slot: Slot) -> None:
    reporter = Reporter(slot)
    heartbeat = Heartbeat(events, slot, reporter)
    job_monitor = JobMonitor(events, slot)
    listener = Listener(events, slot, lambda job: heartbeat.post(Ring(job)))

    def watch(job: Job | None) -> None:
        heartbeat.post(job)
        job_monitor.post(job)
        listener.post(job)

    prefixes = f"{slot.options.baseurls},{os.environ.get('PANDA_BASE_URLS', '')}".split(",")
    transformations = Transformations(slot.server, slot.home / "transformations", [url for url in prefixes if url])
    data_control = DataControl(events, slot, reporter)
    ranges = EventWorkflow(slot, reporter)
    payload_control = PayloadControl(events, slot, transformations, ranges, started=watch, done=data_control.post)
    data_control.inputs_ready = payload_control.post
    job_control = JobControl(events, slot, reporter, Steps(bring_in=data_control.post, watch=watch))
    for component in (heartbeat, job_monitor, data_control, payload_control, job_control, listener):
        component.start()
