"""Every operation of the server with a request that makes sense, about objects that somebody owns."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from bamboo.tests.server.conftest import parameters

SECRET = "canary-8c1d-of-alice"


@dataclass(frozen=True)
class Objects:
    """What requests are about: the owner's task, and jobs of it."""

    task: int
    job: int  #: a pilot has it
    event_job: int  #: a pilot has it and asks for event ranges
    dataset: str = "user.alice.d"
    sandbox: str = "sources.alice.tar.gz"
    queue: str = "LOCAL"


#: What nobody has.
NOTHING = Objects(999_001, 999_002, 999_003, "user.alice.none", "sources.none.tar.gz", "NOWHERE")

Fields = Callable[[Objects], Mapping[str, Any]]


def _is_false(answer: TestResponse) -> bool:
    """Whether an answer says no to each of several."""
    found = answer.json["data"] if isinstance(answer.json, dict) else answer.json
    return [one["success"] if isinstance(one, dict) else one for one in found] == [False]


@dataclass(frozen=True)
class Operation:
    """A request. `ends_in` is the error that the first who may do it hears all the same, by its code."""

    fields: Fields = field(default=lambda objects: {})
    ends_in: str = ""
    changes: bool = False  #: something in the database, when those who may have asked
    each_has_an_answer: bool = False  #: so that a refusal stands in the answer
    by_form: bool = False


def _task(objects: Objects, **more: Any) -> dict[str, Any]:
    return {"task_id": objects.task, **more}


def _job(objects: Objects, **more: Any) -> dict[str, Any]:
    return {"job_id": objects.job, **more}


def _queue(objects: Objects) -> dict[str, Any]:
    return {"queue": objects.queue}


def _report(objects: Objects) -> dict[str, Any]:
    return {"job_id": objects.job, "attempt_nr": 1, "job_status": "running"}


def _ranges(objects: Objects) -> list[dict[str, str]]:
    return [{"eventRangeID": f"{objects.task}-{objects.event_job}-1-1-1", "eventStatus": "running"}]


def task_parameters() -> dict[str, Any]:
    """What prun submits for the owner."""
    return parameters(vo="cms", uniqueTaskName=False)


def _upload(objects: Objects) -> dict[str, Any]:
    return {"file": (io.BytesIO(b"of somebody else"), objects.sandbox)}


def _new_files(objects: Objects) -> dict[str, Any]:
    file = {"lfn": "f2", "url": "file:///data/f2", "size_bytes": 1, "adler32": "1"}
    return {"dataset": objects.dataset, "files": [file]}


def _command(**more: Any) -> Operation:
    """A command on a task, queued once whoever gives it."""
    return Operation(lambda o: _task(o, **more), changes=True)


BAD_STATE = "BAM-STATE-001"
NOT_YET = "BAM-NOTYET-001"

_API: dict[str, Operation] = {
    "GET creds/get_access_token": Operation(ends_in=NOT_YET),
    "GET creds/get_key_pair": Operation(ends_in=NOT_YET),
    "GET creds/get_proxy": Operation(ends_in=NOT_YET),
    "GET creds/get_token_key": Operation(ends_in=NOT_YET),
    "GET creds/get_user_secrets": Operation(),
    "POST creds/get_user_secrets": Operation(),
    "POST creds/set_user_secrets": Operation(lambda o: {"key": "K", "value": "new"}, changes=True),
    "GET dataset/get_files": Operation(lambda o: {"dataset": o.dataset}),
    "GET dataset/list": Operation(),
    "POST dataset/add_files": Operation(_new_files, changes=True),
    "GET event/get_available_event_range_count": Operation(_job),
    "GET event/get_event_range_statuses": Operation(
        lambda o: {"job_task_ids": json.dumps([{"task_id": o.task, "panda_id": o.event_job}])}
    ),
    "POST event/acquire_event_ranges": Operation(lambda o: {"job_id": o.event_job}),
    "POST event/update_event_ranges": Operation(lambda o: {"event_ranges": _ranges(o)}),
    "POST file_server/upload_cache_file": Operation(_upload, ends_in="BAM-STATE-002", by_form=True),
    "POST file_server/upload_file_recovery_request": Operation(_task),
    "POST file_server/validate_cache_file": Operation(lambda o: {"file_size": 6, "checksum": 1}),
    "GET job/compare": Operation(lambda o: _job(o, other_id=o.event_job)),
    "GET job/get_definition": Operation(_job),
    "GET job/events": Operation(_job),
    "GET job/get_detailed_info": Operation(_job),
    "GET job/get_metadata_for_analysis_jobs": Operation(_task),
    "GET job/get_record": Operation(_job),
    "GET job/get_status": Operation(lambda o: {"job_ids": o.job}),
    "GET job/get_stdout": Operation(_job, ends_in=BAD_STATE),
    "GET job/list": Operation(_task),
    "GET job/log": Operation(_job),
    "GET job/why": Operation(_job),
    "POST job/get_description": Operation(lambda o: {"job_ids": [o.job]}),
    "POST job/get_description_incl_archive": Operation(lambda o: {"job_ids": [o.job]}),
    "POST job/kill": Operation(lambda o: {"job_ids": [o.job]}, changes=True, each_has_an_answer=True),
    "POST job/send_command": Operation(lambda o: _job(o, command="ls -l"), changes=True),
    "POST job/set_debug_mode": Operation(lambda o: _job(o, mode=True), changes=True),
    "POST job/submit": Operation(ends_in=NOT_YET),
    "GET metaconfig/get_resource_types": Operation(),
    "GET pilot/get_job_status": Operation(lambda o: {"job_ids": o.job}),
    "GET pilot/orders": Operation(_job),
    "POST pilot/acquire_jobs": Operation(lambda o: {"site_name": o.queue}, changes=True),
    "POST pilot/update_job": Operation(_report, changes=True),
    "POST pilot/update_jobs_bulk": Operation(
        lambda o: {"job_list": [_report(o)]}, changes=True, each_has_an_answer=True
    ),
    "POST pilot/update_worker_node": Operation(lambda o: {"site": "S", "host_name": "h"}),
    "POST pilot/update_worker_node_gpu": Operation(lambda o: {"site": "S", "host_name": "h"}),
    "POST pilot/update_worker_status": Operation(
        lambda o: {"worker_id": 1, "harvester_id": "h", "status": "started"}, changes=True
    ),
    "GET queue/get": Operation(_queue),
    "GET queue/history": Operation(_queue),
    "GET queue/list": Operation(),
    "GET queue/why": Operation(_queue),
    "POST queue/remove": Operation(lambda o: {"queue": "OTHER" if o is not NOTHING else o.queue}, changes=True),
    "POST queue/set": Operation(lambda o: {**_queue(o), "attributes": {"maxrss": 4000}}, changes=True),
    "GET system/get_attributes": Operation(),
    "GET system/is_alive": Operation(),
    "GET system/whoami": Operation(),
    "POST system/get_web_ticket": Operation(),
    "GET task/contrasts": Operation(_task),
    "GET task/events": Operation(_task),
    "GET task/get_datasets_and_files": Operation(_task),
    "GET task/get_detailed_info": Operation(_task),
    "GET task/get_details": Operation(_task),
    "GET task/get_job_descriptions": Operation(_task),
    "GET task/get_job_ids": Operation(_task),
    "GET task/get_parent_detailed_info": Operation(_task, ends_in="BAM-FIND-001"),
    "GET task/get_status": Operation(_task),
    "GET task/get_task_parameters": Operation(_task),
    "GET task/get_tasks_detailed_info_since": Operation(),
    "GET task/get_tasks_modified_since": Operation(lambda o: {"since": "2025-01-01 00:00:00"}),
    "GET task/why": Operation(_task),
    "POST task/avalanche": Operation(_task, ends_in=BAD_STATE),
    "POST task/finish": _command(),
    "POST task/increase_attempts": _command(),
    "POST task/kill": _command(),
    "POST task/pause": _command(),
    "POST task/reactivate": Operation(_task, ends_in=BAD_STATE),
    "POST task/reload_input": Operation(_task, ends_in=BAD_STATE),
    "POST task/resume": Operation(_task, ends_in=BAD_STATE),
    "POST task/retry": _command(new_parameters={"nFilesPerJob": 1}),
    "POST task/submit": Operation(lambda o: {"task_parameters": task_parameters()}, changes=True),
    "GET workflow/get_workflow_details": Operation(ends_in=NOT_YET),
    "POST workflow/submit_workflow_raw_request": Operation(ends_in=NOT_YET),
}


def _jedi(objects: Objects, **more: Any) -> dict[str, Any]:
    return {"jediTaskID": objects.task, **more}


def _ids(objects: Objects) -> dict[str, Any]:
    return {"ids": json.dumps([objects.job])}


_METHODS: dict[str, Operation] = {
    "checkSandboxFile": Operation(lambda o: {"fileSize": 6, "checkSum": 1}),
    "delete_checkpoint": Operation(ends_in=NOT_YET),
    "execute_idds_workflow_command": Operation(ends_in=NOT_YET),
    "finishTask": Operation(_jedi, changes=True),
    "getAttr": Operation(),
    "getEventRanges": Operation(lambda o: {"pandaID": o.event_job}),
    "getFullJobStatus": Operation(_ids),
    "getJediTaskDetails": Operation(lambda o: _jedi(o, fullFlag=True, withTaskInfo=True)),
    "getJediTasksInTimeRange": Operation(lambda o: {"timeRange": "2025-01-01 00:00:00"}),
    "getJob": Operation(lambda o: {"siteName": o.queue}, changes=True),
    "getJobStatus": Operation(_ids),
    "getKeyPair": Operation(),
    "getPandaIDsWithTaskID": Operation(_jedi),
    "getProxy": Operation(),
    "getResourceTypes": Operation(),
    "getStatus": Operation(lambda o: {"ids": o.job}),
    "getTaskParamsMap": Operation(_jedi),
    "getTaskStatus": Operation(_jedi),
    "getUserJobMetadata": Operation(_jedi),
    "get_access_token": Operation(),
    "get_events_status": Operation(lambda o: {"ids": json.dumps([{"task_id": o.task, "panda_id": o.event_job}])}),
    "get_files_in_datasets": Operation(_task),
    "get_user_secrets": Operation(),
    "increaseAttemptNrPanda": Operation(lambda o: _jedi(o, increasedNr=2), changes=True),
    "insertTaskParams": Operation(lambda o: {"taskParams": json.dumps(task_parameters())}, changes=True),
    "isAlive": Operation(),
    "killJobs": Operation(_ids, changes=True, each_has_an_answer=True),
    "killTask": Operation(_jedi, changes=True),
    "pauseTask": Operation(_jedi, changes=True),
    "putEventPickingRequest": Operation(ends_in=NOT_YET),
    "putFile": Operation(_upload, ends_in="BAM-STATE-002", by_form=True),
    "put_checkpoint": Operation(ends_in=NOT_YET),
    "put_file_recovery_request": Operation(_jedi),
    "put_workflow_request": Operation(ends_in=NOT_YET),
    "reactivateTask": Operation(_jedi, ends_in=BAD_STATE),
    "relay_idds_command": Operation(ends_in=NOT_YET),
    "reloadInput": Operation(_jedi, ends_in=BAD_STATE),
    "resumeTask": Operation(_jedi, ends_in=BAD_STATE),
    "retryTask": Operation(lambda o: _jedi(o, newParams=json.dumps({"nFilesPerJob": 1})), changes=True),
    "setDebugMode": Operation(lambda o: {"pandaID": o.job, "modeOn": True}, changes=True),
    "set_user_secret": Operation(lambda o: {"key": "K", "value": "new"}, changes=True),
    "submitJobs": Operation(ends_in=NOT_YET),
    "updateEventRanges": Operation(lambda o: {"eventRanges": json.dumps(_ranges(o))}),
    "updateJob": Operation(lambda o: {"jobId": o.job, "state": "running", "attemptNr": 1}, changes=True),
    "updateWorkerPilotStatus": Operation(
        lambda o: {"workerID": 1, "harvesterID": "h", "status": "started"}, changes=True
    ),
}

_PAGES: dict[str, Operation] = {
    "GET /": Operation(),
    "GET /agents/": Operation(),
    "GET /dataset": Operation(lambda o: {"datasetname": o.dataset}),
    "GET /dataset/": Operation(lambda o: {"datasetname": o.dataset}),
    "GET /datasets/": Operation(),
    "GET /decisions/": Operation(),
    "GET /errors/": Operation(),
    "GET /globalshares/": Operation(),
    "GET /job": Operation(lambda o: {"pandaid": o.job}),
    "GET /job/": Operation(lambda o: {"pandaid": o.job}),
    "GET /job/<int:pandaid>/": Operation(),
    "GET /job/<int:pandaid>/compare/": Operation(ends_in="BAM-STATE-001"),  # none has finished
    "GET /job/<int:pandaid>/compare/<int:other>/": Operation(),
    "GET /job/<int:pandaid>/why/": Operation(),
    "GET /jobs/": Operation(lambda o: {"jeditaskid": o.task}),
    "GET /queue/<path:name>/": Operation(),
    "GET /queue/<path:name>/why/": Operation(),
    "GET /queues/": Operation(),
    "GET /search": Operation(),
    "GET /settings/": Operation(),
    "GET /sign_in": Operation(lambda o: {"ticket": "none"}, ends_in="BAM-INPUT-001"),
    "GET /site/<path:name>/": Operation(),
    "GET /sites/": Operation(),
    "GET /static/<path:name>": Operation(),
    "GET /task": Operation(lambda o: {"jeditaskid": o.task}),
    "GET /task/": Operation(lambda o: {"jeditaskid": o.task}),
    "GET /task/<int:task_id>/": Operation(),
    "GET /task/<int:task_id>/contrasts/": Operation(),
    "GET /task/<int:task_id>/why/": Operation(),
    "GET /tasks/": Operation(),
    "GET /user/<path:name>/": Operation(),
    "GET /users/": Operation(),
    "GET /workers/": Operation(),
    "POST /sign_out": Operation(),
    "POST /task/<int:task_id>/command/<verb>": Operation(changes=True),
}

_PLACES: dict[str, Operation] = {
    **_PAGES,
    "GET /api/": Operation(),
    "GET /api/openapi.json": Operation(),
    "GET /auth/<vo>_auth_config.json": Operation(ends_in="BAM-FIND-001"),
    "GET /cache/<name>": Operation(),
    "GET /cache/ddmendpoints.json": Operation(),
    "GET /cache/schedconfig/<queue>.all.json": Operation(),
    "GET /cache/schedconfig/pandaqueues.json": Operation(),
    "GET /livez": Operation(),
    "GET /metrics": Operation(),
    "GET /readyz": Operation(),
    "GET /trf/user/<name>": Operation(ends_in="BAM-FIND-001"),
}

#: By the names of operations in docs/access.md.
REQUESTS: dict[str, Operation] = {
    **{f"{verb} /api/v1/{path}": one for (verb, path), one in ((key.split(), one) for key, one in _API.items())},
    **{f"POST /server/panda/{method}": one for method, one in _METHODS.items()},
    **_PLACES,
}


def _parts(objects: Objects) -> dict[str, str]:
    """What stands for the variable parts of addresses."""
    return {
        "<vo>": "none",
        "<queue>": objects.queue,
        "<name>": objects.sandbox,
        "<int:task_id>": str(objects.task),
        "<int:pandaid>": str(objects.job),
        "<int:other>": str(objects.event_job),
        "/static/<path:name>": "/static/bamboo.css",
        "<path:name>": objects.queue,
        "<verb>": "pause",
    }


def parts_of(rule: Rule, objects: Objects) -> dict[str, str]:
    """What stands for the variable parts of an address, by their names."""
    known = _parts(objects)
    return {name: known.get(part, "x") for part, name in re.findall(r"(<(?:\w+:)?(\w+)>)", rule.rule)}


def send(client: Any, name: str, objects: Objects, headers: Mapping[str, str]) -> TestResponse:
    """Ask for an operation, by the request that is known for it."""
    asked = REQUESTS[name]
    verb, path = name.split()
    fields = dict(asked.fields(objects))
    for part, value in _parts(objects).items():
        path = path.replace(part, value)
    how: dict[str, Any] = {"query_string": fields}
    if asked.by_form:
        how = {"data": fields, "content_type": "multipart/form-data"}
    elif verb == "POST":
        how = {"data": fields} if path.startswith("/server/") else {"json": fields}
    answer: TestResponse = client.open(path, method=verb, headers=dict(headers), buffered=True, **how)
    return answer


def says_no(name: str, answer: TestResponse) -> bool:
    """Whether the answer to a request about several things says no to each."""
    return REQUESTS[name].each_has_an_answer and answer.status_code == 200 and _is_false(answer)
