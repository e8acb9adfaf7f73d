"""Builds the command line and the environment of a payload (pilot protocol, payload command)."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import Code, PilotError, Refused, ServerAway
from .job import Job
from .job_spec import Step
from .server_calls import ServerCalls
from .steps import in_container, in_steps

# The payload runs under the same account, but it need not be handed the pilot's credentials.
WITHHELD = re.compile(r"^(PANDA_AUTH|OIDC_AUTH|BAMBOO)_")
CUT_OUT = re.compile(
    r"\s*--overwriteQueue[dD]ata[= ]\{.*?\}|\s*--overwriteStorage[dD]ata[= ]\{.*?\}|<ZIP_MAP>.*?</ZIP_MAP>"
)
CONTAINER = re.compile(r" --containerImage[= ]")
CONTAINER_TRANSFORM = "runcontainer"


def literal(parameters: str) -> str:
    """Quote each token again when any begins with `-`, so that shell text inside them stays literal.

    Parameters without options, or with quotes that do not close, go to the shell as they are.
    """
    try:
        tokens = shlex.split(parameters)
    except ValueError:
        return parameters
    if any(token.startswith("-") for token in tokens):
        return " ".join(map(shlex.quote, tokens))
    return parameters


class Transformations:
    """Finds the program a job names; downloads are kept for the pilot's life."""

    def __init__(self, server: ServerCalls, cache: Path, prefixes: Sequence[str]) -> None:
        self._server = server
        self._cache = cache
        self.prefixes = (f"{server.transport.base_url}/trf/", *prefixes)

    def command(self, job: Job) -> str:
        """Give the shell command of the job's payload; raises PilotError when its programs cannot be had."""
        spec = job.spec
        main = spec.container_exec or self._command(spec.transformation, spec.parameters, job.directory)
        if spec.container_image and CONTAINER_TRANSFORM not in spec.transformation:
            main = in_container(main, spec.container_image, job.directory, _job_variables(job))
        return in_steps(self._step(spec.preprocess, job), main, self._step(spec.postprocess, job))

    def _step(self, step: Step | None, job: Job) -> str:
        return self._command(step.command, step.arguments, job.directory) if step else ""

    def _command(self, transformation: str, parameters: str, directory: Path) -> str:
        parameters = CUT_OUT.sub("", parameters)
        if CONTAINER.search(parameters) and CONTAINER_TRANSFORM not in transformation:
            raise PilotError(
                Code.NO_CONTAINERS_HERE, f"--containerImage is for the transformation {CONTAINER_TRANSFORM} only"
            )
        return f"{self._program(transformation, directory)} {literal(parameters)}".rstrip()

    def _program(self, name: str, directory: Path) -> str:
        if name.startswith(("http://", "https://")):
            return self._from_url(name, directory)
        local = directory / name
        if "/" not in name and local.is_file():
            _make_executable(local)
            return f"./{shlex.quote(name)}"
        if shutil.which(name):
            return shlex.quote(name)
        raise PilotError(
            Code.TRANSFORM_NOT_FOUND,
            f"transformation {name!r} is neither in the job directory nor a program on this machine",
        )

    def _from_url(self, url: str, directory: Path) -> str:
        if not url.startswith(self.prefixes):
            raise PilotError(
                Code.TRANSFORM_DOWNLOAD_FAILED,
                f"transformation {url} is not below {' or '.join(self.prefixes)}: allow it with --baseurls",
            )
        name = url.rstrip("/").rpartition("/")[2].partition("?")[0]
        target = directory / name
        if not target.exists():
            self._cache.mkdir(exist_ok=True)
            kept = self._cache / re.sub(r"[^\w.-]", "_", url)
            if not kept.exists():
                kept.write_bytes(self._download(url))
            shutil.copyfile(kept, target)
        _make_executable(target)
        return f"./{shlex.quote(name)}"

    def _download(self, url: str) -> bytes:
        try:
            return self._server.download(url)
        except (ServerAway, Refused) as error:
            raise PilotError(Code.TRANSFORM_DOWNLOAD_FAILED, f"cannot download transformation: {error}") from error


def _make_executable(path: Path) -> None:
    """Let a program in the job directory be run; an input is a link into a storage, so a copy takes its place."""
    if path.is_symlink():
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    path.chmod(0o755)


def environment(job: Job, queue: str, inherited: Mapping[str, str]) -> dict[str, str]:
    """Give the payload's environment: the pilot's, without its credentials, with the job's ids."""
    kept = {name: value for name, value in inherited.items() if not WITHHELD.match(name)}
    return {**kept, **_job_variables(job), "PANDA_RESOURCE": queue}


def _job_variables(job: Job) -> dict[str, str]:
    return {
        "PandaID": str(job.spec.pandaid),
        "PANDAID": str(job.spec.pandaid),
        "PanDA_TaskID": str(job.spec.task_id),
        "PANDA_ATTEMPT_NR": str(job.spec.attempt_nr),
        "PANDA_CORE_COUNT": str(job.spec.core_count),
        "ATHENA_PROC_NUMBER": str(job.spec.core_count),
        "PANDA_JOB_DIR": str(job.directory),
    }
