"""A task on its way to the server, with the files that go along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core.errors import Fault, Invalid
from .catalogue import entries, expand
from .naming import in_ds_name
from .parameters import task_parameters
from .sandbox import SandboxRules, collect, new_archive_name, packing
from .spec import TaskSpec

if TYPE_CHECKING:
    from .api import Client
    from .model import Submitted


class Submission:
    """One task to submit. Making it checks and measures everything; nothing is sent before `send`.

    `rules` choose the files of the sandbox (None for no sandbox); `in_files` are local files to process.
    """

    def __init__(
        self, client: Client, spec: TaskSpec, *, rules: SandboxRules | None, in_files: Sequence[str] = ()
    ) -> None:
        if isinstance(in_files, str):
            do = f"write in_files=({in_files!r},)"
            fault = Fault("in_files", f"{in_files!r} is one text, several are wanted", do)
            raise Invalid("this task cannot be submitted", [fault])
        self.client = client
        self.spec = client.completed(spec, local_input=bool(in_files))
        if rules is None:
            self._need_no_sandbox()
        inputs = expand(in_files)
        paths = frozenset(path.resolve() for path in inputs)
        brings_all = self.spec.no_compile and self.spec.has_build
        self.collection = collect(replace(rules, inputs=paths, with_products=brings_all)) if rules else None
        self.new_files = entries(inputs)
        self.sent: dict[str, Any] = {}  #: the task parameters, once they are complete

    def _need_no_sandbox(self) -> None:
        """Raise `Invalid` if the task makes something of files that do not go along."""
        wanted = {"bexec": self.spec.bexec, "noCompile": self.spec.no_compile, "mergeScript": self.spec.merge_script}
        do = "give the directory of your files (work_dir)"
        if faults := [Fault(name, "there is no sandbox for it", do) for name, given in wanted.items() if given]:
            raise Invalid("this task cannot be submitted", faults)

    def parameters(self, archive: str) -> dict[str, Any]:
        """The task parameters with the name of the uploaded sandbox."""
        return task_parameters(self.spec, archive=archive, source_url=self.client.transport.url)

    def new_archive_name(self) -> str:
        """A name for the sandbox: PanDA tells by it whether a build job fetches it, or every job."""
        return new_archive_name(for_build=self.spec.has_build)

    def send(self) -> Submitted:
        """Upload the sandbox, register local inputs, submit."""
        archive = ""
        if self.collection is not None:
            with packing(self.collection, self.new_archive_name()) as packed:
                archive = self.client.upload_archive(packed)
        if self.new_files:
            self.client.add_files(in_ds_name(self.spec.out_ds), self.new_files)
        self.sent = self.parameters(archive)
        return self.client.send_parameters(self.sent, parent_tid=self.spec.parent_task_id)
