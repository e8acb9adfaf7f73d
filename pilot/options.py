"""The pilot's command line (pilot protocol, options; manual ch. 7.3.1)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

IGNORED = "accepted for older start scripts, no effect"


def _add_server_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("server")
    group.add_argument("--url", default="http://localhost", help="server's address; https:// when no scheme is given")
    group.add_argument("-p", "--port", type=int, help="server's port, unless the url has one (http 25080, https 25443)")
    group.add_argument("--queuedata-url", help="address of the queue document; {pandaqueue} is replaced")
    group.add_argument("--storagedata-url", help="address of the storage document")
    group.add_argument("-g", "--baseurls", default="", help="further addresses transformations may come from, by comma")
    group.add_argument("--cacert", help="file with CA certificates for https")
    group.add_argument("--capath", help="directory with CA certificates for https")
    group.add_argument("--heartbeat-seconds", type=float, help="time between heartbeats (default: what the job says)")


def _add_job_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which jobs")
    group.add_argument("-q", "--queue", required=True, help="queue to serve")
    group.add_argument("-r", "--resource", help="resource name (default: the queue document's panda_resource)")
    group.add_argument("-s", "--site", help="site name, for the log")
    group.add_argument(
        "-j", "--job-label", default="managed", help="label of the jobs to ask for (managed, user, test…)"
    )
    group.add_argument("-i", "--version-tag", default="PR", help="version tag; RC and ALRB ask for release tests")
    group.add_argument("--resource-type", help="only jobs of this resource type, such as SCORE")
    group.add_argument("--working_group", "--working-group", default="", help="only jobs of this working group")
    group.add_argument("--country_group", "--country-group", default="", help="only jobs of this country group")
    group.add_argument("--allow_other_country", "--allow-other-country", nargs="?", const="True", default="False")
    group.add_argument("-v", "--polls", type=int, default=2, help="empty answers in a row before ending; 0: no limit")
    group.add_argument("-x", "--failed-polls", type=int, default=5, help="failed requests for a job before giving up")
    group.add_argument("--poll-seconds", type=float, help="pause after an empty answer (default: 60 to 180, random)")
    group.add_argument(
        "--longest-poll-seconds", type=float, help="let that pause grow up to this while answers stay empty"
    )


def _add_running_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how to run")
    group.add_argument("-a", "--workdir", type=Path, default=Path(), help="where to make the pilot's work directory")
    group.add_argument("-d", "--debug", action="store_true", help="more log lines")
    group.add_argument("-l", "--lifetime", type=int, default=324000, help="seconds this pilot may live")
    group.add_argument("--timefloor", type=int, help="minutes during which more jobs are asked for; -1: whole life")
    group.add_argument("--max-jobs", type=int, default=0, help="end after so many jobs; 0: no limit")
    group.add_argument("--kill-grace", type=float, default=8.0, help="seconds a stop on a signal may take in all")
    group.add_argument(
        "--looping-seconds", type=float, help="kill a payload idle so long (7200; BAMBOO_LOOPING_SECONDS)"
    )
    group.add_argument("--cleanup", default="True", help="False keeps the work directories")


def _add_ignored_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("accepted without effect")
    group.add_argument("-w", "--workflow", default="generic", choices=["generic"], help="only generic exists")
    for names in (["-t"], ["-u"], ["-b"], ["-y"], ["-k"]):
        group.add_argument(*names, action="store_true", help=IGNORED)
    group.add_argument("--config", help=IGNORED)
    group.add_argument("--allow_same_user", "--allow-same-user", nargs="?", const="True", help=IGNORED)
    group.add_argument("--pilot_user", "--pilot-user", default="generic", help=IGNORED)
    group.add_argument("--use-rucio-traces", help=IGNORED)
    group.add_argument("-z", action="store_true", help="not supported: this pilot always talks to a server")


def _base_url(url: str, port: int | None) -> str:
    """Join address and port; a port inside the address wins."""
    whole = url if "://" in url else f"https://{url}"
    parts = urlsplit(whole)
    if parts.port or not parts.hostname:
        return whole.rstrip("/")
    port = port or (25080 if parts.scheme == "http" else 25443)
    return f"{parts.scheme}://{parts.netloc}:{port}{parts.path}".rstrip("/")


def _faults(options: argparse.Namespace) -> list[str]:
    found = []
    if options.z:
        found.append("-z is not supported: this pilot always talks to a server")
    parts = urlsplit(options.base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        found.append(f"--url {options.url!r} is not an http(s) address")
    if options.kill_grace <= 0:
        found.append("--kill-grace must be positive")
    if options.lifetime <= 0:
        found.append("--lifetime must be positive")
    if options.cleanup not in ("True", "False", "true", "false"):
        found.append(f"--cleanup takes True or False, not {options.cleanup!r}")
    return found


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with 2 and a sentence for each fault."""
    parser = argparse.ArgumentParser(
        prog="pilot", description="Takes jobs from a Bamboo server and runs them here.", allow_abbrev=False
    )
    for add in (_add_server_options, _add_job_options, _add_running_options, _add_ignored_options):
        add(parser)
    options = parser.parse_args(list(argv))
    try:
        options.base_url = _base_url(options.url, options.port)
    except ValueError as error:
        parser.error(f"--url {options.url!r}: {error}")
    if options.looping_seconds is None:
        try:
            options.looping_seconds = float(os.environ.get("BAMBOO_LOOPING_SECONDS", "7200"))
        except ValueError:
            parser.error("BAMBOO_LOOPING_SECONDS is not a number")
    if faults := _faults(options):
        parser.error("; ".join(faults))
    return options
