"""The methods of PanDA's clients up to 1.5, and the few that later ones still use (client protocol 6.10 and 12.3)."""

from __future__ import annotations

import json
from typing import Any

from ...core.errors import Fault, Invalid
from ...sql import job_queries
from ...sql import tasks as tasks_sql
from .. import task_details
from ..api.creds import OneSecret, change_secrets, secrets_text
from ..api.event import statuses
from ..api.file_server import Known, Recovery, find_file, recover, take_file
from ..api.job import OneTask as OfTask
from ..api.job import SomeJobs, descriptions, kill_jobs, metadata_of
from ..api.system import seen
from ..api.task import Datasets, Details, Finish, IncreaseAttempts, Modified, OneTask, Retry, Submitted, give, take_in
from ..api.workflow import refuse_workflows
from ..auth.access import NOBODY, OF_JOB, OF_TASK, OWN, RETRY, SUBMISSION, USER
from ..context import context
from ..errors import NotYet
from ..event_reports import Reported
from ..identity import caller
from .methods import Fields, Method, renamed
from .replies import ARRAY, CODED, CODED_3, PICKLE, TAKEN, TEXT, VALUE

_TASK = {"jediTaskID": "task_id"}


def _insert_task(fields: Fields) -> tuple[int, str]:
    names = {"taskParams": "task_parameters", "parent_tid": "parent_tid"}
    entered = take_in(renamed(Submitted, fields, names))
    return (3 if entered.was else 0), str(entered)


def _kill(fields: Fields) -> str:
    return give("kill", renamed(OneTask, fields, _TASK).task_id)


def _finish(fields: Fields) -> str:
    body = renamed(Finish, fields, {**_TASK, "soft": "soft"})
    return give("finish", body.task_id, {"soft": body.soft})


def _retry(fields: Fields) -> tuple[int, str]:
    body = renamed(Retry, fields, {**_TASK, "newParams": "new_parameters"})
    if not body.new_parameters:
        return 0, give("retry", body.task_id)
    return 3, give("retry", body.task_id, {"new_parameters": body.new_parameters})


def _command(verb: str, **parameters: Any) -> Method:
    def act(fields: Fields) -> tuple[int, str]:
        return 0, give(verb, renamed(OneTask, fields, _TASK).task_id, parameters or None)

    return Method(act, CODED, OF_TASK)


def _increase(fields: Fields) -> tuple[int, str]:
    body = renamed(IncreaseAttempts, fields, {**_TASK, "increasedNr": "increase"})
    return 0, give("increase_attempts", body.task_id, {"increase": body.increase})


def _status(fields: Fields) -> list[str]:
    with context().reading() as tx:
        return [tasks_sql.get_task(tx, renamed(OneTask, fields, _TASK).task_id).status]


def _parameters(fields: Fields) -> tuple[int, str]:
    with context().reading() as tx:
        return 0, json.dumps(tasks_sql.get_parameters(tx, renamed(OneTask, fields, _TASK).task_id))


def _job_ids(fields: Fields) -> list[int]:
    with context().reading() as tx:
        return job_queries.ids_of_task(tx, renamed(OneTask, fields, _TASK).task_id)


def _changed_tasks(fields: Fields) -> dict[str, Any]:
    names = {"timeRange": "since", "dn": "dn", "minTaskID": "min_task_id", "task_type": "prod_source_label"}
    asked = renamed(Modified, fields, names)
    user_name = asked.dn or caller().user_name
    with context().reading() as tx:
        rows = task_details.modified_since(tx, asked.since, user_name, asked.prod_source_label, asked.min_task_id)
    return {str(row["reqID"]): row for row in rows}


def _details(fields: Fields) -> dict[str, Any]:
    names = {**_TASK, "fullFlag": "include_parameters", "withTaskInfo": "include_status"}
    asked = renamed(Details, fields, names)
    with context().reading() as tx:
        return task_details.summary(
            tx, asked.task_id, with_parameters=asked.include_parameters, with_status=asked.include_status
        )


def _datasets(fields: Fields) -> list[dict[str, Any]]:
    asked = renamed(Datasets, fields, {"task_id": "task_id", "dataset_types": "dataset_types"})
    with context().reading() as tx:
        tasks_sql.get_task(tx, asked.task_id)
        return task_details.datasets_and_files(tx, asked.task_id, asked.dataset_types)


def _metadata(fields: Fields) -> dict[str, Any]:
    return metadata_of(renamed(OfTask, fields, _TASK).task_id)


def _jobs_named(fields: Fields) -> list[int]:
    """The job ids in a request, which must be JSON: a pickle runs the code of whoever made it."""
    ids = fields.get("ids")
    if isinstance(ids, str) and not ids.lstrip().startswith("["):
        fault = Fault("ids", "a pickle, which this server does not read", "send no_pickle=True and the ids as JSON")
        raise Invalid("the request", [fault])
    return renamed(SomeJobs, fields, {"ids": "job_ids"}).job_ids


def _submit_jobs(fields: Fields) -> None:
    raise NotYet("pickled jobs are never read here", hint="submit a task: insertTaskParams")


def _find_file(fields: Fields) -> str:
    return find_file(renamed(Known, fields, {"fileSize": "file_size", "checkSum": "checksum"}))


def _put_file(fields: Fields) -> str:
    take_file()
    return "True"


def _recover(fields: Fields) -> str:
    return recover(renamed(Recovery, fields, {**_TASK, "dryRun": "dry_run"}))


def _event_statuses(fields: Fields) -> dict[str, Any]:
    return statuses(renamed(Reported, fields, {"ids": "event_ranges"}).event_ranges)


def _refuse(what: str, hint: str) -> Any:
    def act(fields: Fields) -> None:
        raise NotYet(f"{what} is not supported yet", hint=hint)

    return act


def _refuse_workflows(fields: Fields) -> Any:
    return refuse_workflows()


def _set_secret(fields: Fields) -> str:
    asked = renamed(OneSecret, fields, {"key": "key", "value": "value"})
    return change_secrets(caller().user_name, asked.key, asked.value)


METHODS = {
    "isAlive": Method(lambda fields: "alive=yes", TEXT, NOBODY),
    "getAttr": Method(lambda fields: "\n".join(f"{key} : {value}" for key, value in seen().items()), TEXT, NOBODY),
    "checkSandboxFile": Method(_find_file, TEXT, OWN),
    "putFile": Method(_put_file, TEXT, OWN),
    "put_file_recovery_request": Method(_recover, ARRAY, OF_TASK),
    "insertTaskParams": Method(_insert_task, CODED_3, SUBMISSION),
    "killTask": Method(_kill, TAKEN, OF_TASK),
    "finishTask": Method(_finish, TAKEN, OF_TASK),
    "retryTask": Method(_retry, CODED_3, RETRY),
    "reloadInput": _command("reload_input"),
    "pauseTask": _command("pause"),
    "resumeTask": _command("resume"),
    "reactivateTask": _command("reactivate", failed_too=True),
    "increaseAttemptNrPanda": Method(_increase, CODED, OF_TASK),
    "getTaskStatus": Method(_status, PICKLE, USER),
    "getTaskParamsMap": Method(_parameters, PICKLE, USER),
    "getPandaIDsWithTaskID": Method(_job_ids, PICKLE, USER),
    "getJediTasksInTimeRange": Method(_changed_tasks, PICKLE, USER),
    "getJediTaskDetails": Method(_details, PICKLE, USER),
    "get_files_in_datasets": Method(_datasets, VALUE, USER),
    "getUserJobMetadata": Method(_metadata, VALUE, USER),
    "killJobs": Method(lambda fields: kill_jobs(_jobs_named(fields)), VALUE, OF_JOB),
    "getJobStatus": Method(lambda fields: descriptions(_jobs_named(fields), with_archive=False), VALUE, USER),
    "getFullJobStatus": Method(lambda fields: descriptions(_jobs_named(fields), with_archive=True), VALUE, USER),
    "submitJobs": Method(_submit_jobs, TEXT, USER),
    "get_events_status": Method(_event_statuses, VALUE, USER),
    "set_user_secret": Method(_set_secret, ARRAY, OWN),
    "get_user_secrets": Method(lambda fields: secrets_text(caller().user_name), ARRAY, OWN),
    "put_workflow_request": Method(_refuse_workflows, ARRAY, USER),
    "execute_idds_workflow_command": Method(_refuse_workflows, ARRAY, USER),
    "relay_idds_command": Method(_refuse("relaying to iDDS", "there is no iDDS behind this server"), ARRAY, USER),
    "putEventPickingRequest": Method(
        _refuse("event picking", "give the files that have the events as input"), TEXT, USER
    ),
    "put_checkpoint": Method(_refuse("keeping checkpoints", "keep them in an output dataset"), ARRAY, USER),
    "delete_checkpoint": Method(_refuse("keeping checkpoints", "keep them in an output dataset"), ARRAY, USER),
}
