"""How to run a command in a container image with what the machine has: apptainer, podman or docker.

Shared by the pilot and by the run transform for containers, which runs on Python 3.6.
"""

import os
import re
import shutil
from pathlib import Path
from typing import Iterable, List, Optional

#: In the order of preference. The first three leave all processes of a container below the one that started it, so
#: that killing the job ends them; singularity is apptainer's older name.
RUNTIMES = ("apptainer", "singularity", "podman", "docker")
_IMAGE = re.compile(r"[A-Za-z0-9./_][^\s\0]*")
_REGISTRY = "docker://"


class ContainerError(Exception):
    """No container can be started: what is missing or wrong, in one sentence."""


def find_runtime(path: Optional[str] = None) -> str:
    """Give the program that runs containers here, as an absolute path; raises ContainerError when there is none."""
    for name in RUNTIMES:
        program = shutil.which(name, path=path)
        if program:
            return str(Path(program).absolute())
    raise ContainerError("a container image needs apptainer, podman or docker, and none of them is on PATH here")


def container_command(
    program: str,
    image: str,
    shell_command: str,
    work_dir: str,
    inside: str,
    read_only: Iterable[str] = (),
    variables: Iterable[str] = (),
) -> List[str]:
    """Give the argv that runs a shell command in an image. Raises ContainerError.

    `work_dir` is seen as `inside`, where the command starts; `read_only` paths keep their names. `variables` are names
    of environment variables to hand on; apptainer hands on all.
    """
    if not _IMAGE.fullmatch(image):
        raise ContainerError(f"{image!r} is not the name of a container image")
    shared = [f"{work_dir}:{inside}", *(f"{path}:{path}:ro" for path in read_only)]
    for bind in shared:
        if "," in bind or bind.count(":") != 1 + bind.endswith(":ro"):
            raise ContainerError(f"{bind!r} cannot be shared with a container: it has a comma or a colon")
    if Path(program).name in ("apptainer", "singularity"):
        return [
            *(program, "exec", "--pwd", inside),
            *(word for bind in shared for word in ("--bind", bind)),
            *(_for_apptainer(image), "/bin/sh", "-c", shell_command),
        ]
    return [
        *(program, "run", "--rm", "--entrypoint", "/bin/sh", "--workdir", inside),
        *_same_user(program),
        *(word for bind in shared for word in ("--volume", bind)),
        *(word for name in variables for word in ("--env", name)),
        *(_for_docker(image, program), "-c", shell_command),
    ]


def outside_folders(directory: Path) -> List[str]:
    """List the folders elsewhere that links in a directory lead to, such as the storages of staged-in files."""
    home = directory.resolve()
    found = set()
    for entry in os.scandir(str(directory)):
        if entry.is_symlink():
            target = Path(entry.path).resolve()
            if target.exists() and home not in target.parents and target != home:
                found.add(str(target.parent))
    return sorted(found)


def _for_apptainer(image: str) -> str:
    return image if "://" in image or image.startswith(("/", ".")) or Path(image).exists() else _REGISTRY + image


def _for_docker(image: str, program: str) -> str:
    name = image[len(_REGISTRY) :] if image.startswith(_REGISTRY) else image
    if "://" in name or name.startswith(("/", ".")):
        raise ContainerError(
            f"{image} is not an image of a registry: only apptainer runs it, and here is {Path(program).name}"
        )
    return name


def _same_user(program: str) -> List[str]:
    """What the command writes shall belong to who started it."""
    if os.getuid() == 0:
        return []
    if Path(program).name == "podman":
        return ["--userns=keep-id"]
    return ["--user", f"{os.getuid()}:{os.getgid()}"]
