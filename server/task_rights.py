"""What only some may ask for in a task: activities, priorities, names (`docs/identity.md` has the roles).

PanDA keeps production tasks for those who have the production role, and leaves users a range of priorities (client
protocol 6.2; `prun --priority`).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..core.errors import Fault, NeedsRole
from ..core.settings import ServerSection
from ..core.task_parameters import PREFIX, TaskParameters
from .identity import Caller
from .name_spaces import HOW_TO_GET_ROLE, faults_of_names

ROLE = "production"


def must_be_allowed(parameters: TaskParameters, caller: Caller, section: ServerSection) -> None:
    """Raise `NeedsRole` with everything that this caller may not ask for."""
    if caller.has_role(ROLE, parameters.vo):
        return
    if faults := [*_kept_for_production(parameters, caller, section), *faults_of_names(_made(parameters), caller)]:
        raise NeedsRole("the task cannot be submitted", faults, hint=HOW_TO_GET_ROLE)


def _kept_for_production(parameters: TaskParameters, caller: Caller, section: ServerSection) -> Iterator[Fault]:
    needs = f"needs the role {ROLE} in VO {parameters.vo}, which {caller.user_name} does not have"
    if caller.has_role(ROLE):
        needs += f" (but in VO {caller.vo}: --vo {caller.vo})"
    labels = tuple(filter(None, (label.strip() for label in section.user_labels.split(","))))
    given = [("prodSourceLabel", parameters.prod_source_label)]
    if parameters.build_spec is not None:
        given.append(("buildSpec.prodSourceLabel", parameters.build_spec.prod_source_label))
    for key, label in given:
        if label not in labels:
            yield Fault(f"{PREFIX}.{key}", f"{label!r} {needs}", f"or give one of {', '.join(labels)}")
    if parameters.official:
        yield Fault(f"{PREFIX}.official", f"a task for a whole group {needs}", "or leave it out")
    limit = section.max_user_priority
    if parameters.current_priority is not None and parameters.current_priority > limit:
        what = f"{parameters.current_priority} is above {limit}, which {needs}"
        yield Fault(f"{PREFIX}.currentPriority", what, f"or give at most {limit}")


def _made(parameters: TaskParameters) -> Iterator[tuple[str, str]]:
    """The datasets that a task writes, each with its place."""
    items = [(f"jobParameters[{at}]", item) for at, item in enumerate(parameters.job_parameters)]
    items += [(key, item) for key, item in (("log", parameters.log), ("log_merge", parameters.log_merge)) if item]
    for where, item in items:
        if item.param_type in ("output", "log"):
            for name in dict.fromkeys(filter(None, (item.dataset, item.container))):
                yield f"{PREFIX}.{where}.dataset", name
