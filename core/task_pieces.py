"""What tasks are made of: the pieces of a command line, the specifications of side jobs, and the types of their values.

Client protocol 7.6 and 7.7; `core.task_parameters` has the task as a whole.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AliasGenerator, BaseModel, BeforeValidator, ConfigDict, Field

#: `$JEDITASKID` and `${WORD}`, perhaps with `/T` or `/P` (client protocol 7.6).
PLACEHOLDER = re.compile(r"\$\{([^{}]*)\}|\$JEDITASKID\b")
#: The stream of `prun --dbRelease`: each job gets the one file of it.
DATABASE_RELEASE = "DBR"


def camel(name: str) -> str:
    """The key that clients send for a field: `n_files_per_job` is `nFilesPerJob`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _names(value: Any) -> Any:
    """A list of names, or text with commas between them."""
    if value is None:
        return ()
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


def none_is_default(value: Any) -> Any:
    """Clients send null for texts that they leave out."""
    return "" if value is None else value


Text = Annotated[str, BeforeValidator(none_is_default), Field(max_length=4096)]
Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\s,\x00-\x1f]+$")]
Word = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
Names = Annotated[tuple[Name, ...], BeforeValidator(_names), Field(max_length=1000)]
#: Names of files: lists of inputs may be long.
FileNames = Annotated[tuple[Name, ...], BeforeValidator(_names), Field(max_length=100_000)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Size = Annotated[int, Field(ge=0, le=2**31 - 1)]
Offset = Annotated[int, Field(ge=0, le=2**53)]


class Model(BaseModel):
    """What is common to all: keys in camel case, and no others than those that are declared."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=AliasGenerator(validation_alias=camel, serialization_alias=camel),
    )


class JobParameter(Model):
    """One piece of a job's command line (client protocol 7.6)."""

    type: Literal["constant", "template"] = Field(description="`constant`: the same for every job; `template`: filled")
    value: Annotated[str, Field(max_length=65536)] = Field(description="text with placeholders")
    param_type: Literal["output", "log", "input", "pseudo_input", "number"] | None = Field(
        None, alias="param_type", description="what a template stands for"
    )
    dataset: Text = Field("", description="dataset that is read or written; several inputs joined by commas")
    container: Text = Field("", description="the dataset's container")
    hidden: bool = Field(False, description="kept out of the command line")
    padding: bool = Field(True, description="followed by a space")
    expand: bool = Field(False, description="take the constituents of a container one by one")
    consolidate: Text = Field("", description="dataset to gather the constituents in instead")
    include: Text = Field("", description="regular expressions, comma-separated: only files with such names")
    exclude: Text = Field("", description="regular expressions, comma-separated: no files with such names")
    offset: Offset = Field(
        0, description="files to skip (inputs); first `FIRSTEVENT`; number before the first `SEQNUMBER`"
    )
    files: FileNames = Field((), description="only these files")
    n_files: Count | None = Field(None, description="only so many files of a secondary stream")
    n_files_per_job: Count | None = Field(None, description="files of a secondary stream that each job gets (1)")
    ratio: Count | None = Field(None, description="files of a secondary stream for each file of the main one")
    reusable: bool = Field(False, description="begin a secondary stream again when it is used up")
    destination: Text = Field("", description="storage that the outputs go to")
    token: Text = Field("", description="space token; kept as information")
    merge_only: bool = Field(False, description="made by merge jobs alone")
    allow_no_output: bool = Field(False, description="the output may be missing")
    attributes: Text = Field("", description="`nosplit`: each job gets the whole stream; `repeat`: as `reusable`")

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The words in `${…}`, in their order."""
        return tuple(found[1] for found in PLACEHOLDER.finditer(self.value) if found[1] is not None)

    @property
    def stream(self) -> str:
        """The placeholder that a template fills, without its `/T`: `IN`, `IN2`, `SEQNUMBER`; empty when it has none."""
        return self.placeholders[0].partition("/")[0] if self.placeholders else ""

    @property
    def is_whole(self) -> bool:
        """Whether each job gets all files of the stream."""
        return "nosplit" in self.attributes.split(",")

    @property
    def begins_again(self) -> bool:
        """Whether the stream begins again when it is used up; one that is not split always does."""
        again = self.reusable or self.is_whole or "repeat" in self.attributes.split(",")
        return again or self.stream == DATABASE_RELEASE

    @property
    def says_how_many(self) -> bool:
        """Whether it says how many files a job gets, as only secondary streams do."""
        how_many = self.n_files_per_job is not None or self.ratio is not None or self.is_whole
        return how_many or self.stream == DATABASE_RELEASE

    def n_files_for(self, n_main: int) -> int | None:
        """How many files of a secondary stream a job with so many main inputs gets; None: all of them."""
        if self.is_whole:
            return None
        return self.ratio * n_main if self.ratio is not None else self.n_files_per_job or 1

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets of an input, one by one."""
        return tuple(name.strip() for name in self.dataset.split(",") if name.strip())


class BuildSpec(Model):
    """The build job that runs before the others at each queue (client protocol 7.7)."""

    prod_source_label: Word = Field("panda", description="activity of build jobs")
    archive_name: Name = Field(description="uploaded archive of sources: fills `${IN}`")
    job_parameters: Annotated[str, Field(max_length=65536)] = Field(description="command line; `${OUT}`: the library")
    trans_path: Text = Field("", description="the transformation; default: the general build")


class MergeSpec(Model):
    """How outputs are merged (client protocol 7.7)."""

    job_parameters: Annotated[str, Field(max_length=65536)] = Field(description="command line of merge jobs")
    trans_path: Text = Field("", description="the transformation; default: the general merge")
    use_local_io: Any = Field(None, alias="useLocalIO", description="kept as information")
