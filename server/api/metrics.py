"""/metrics: the figures of this server and of its database for Prometheus, without names of users."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import TYPE_CHECKING

from flask import Blueprint, Response

from ... import __version__
from ..auth.access import NOBODY, open_to
from ..context import context
from ..database_figures import InDatabase
from ..declared import answers_with
from ..figures import BOUNDS, Sums

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

routes = Blueprint("metrics", __name__)


@routes.get("/metrics")
@open_to(NOBODY)
@answers_with("text/plain")
def metrics() -> Response:
    """The figures, in the text format of Prometheus."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    sums, seen = context().figures.sums(), context().database_figures.lately()

    class All(Collector):
        def collect(self) -> Iterable[Metric]:
            yield from _of_requests(sums)
            yield from _of_database(seen)

    registry = CollectorRegistry()
    registry.register(All())
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _of_requests(sums: Sums) -> Iterable[Metric]:
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, InfoMetricFamily

    yield InfoMetricFamily("bamboo", "The program.", {"version": __version__})
    by_route = ("route", "method")
    requests = CounterMetricFamily("bamboo_requests", "Requests that were answered.", labels=(*by_route, "status"))
    for (route, method, status), n in sorted(sums.requests.items()):
        requests.add_metric((route, method, str(status)), n)
    yield requests
    refusals = CounterMetricFamily("bamboo_refusals", "Requests that were refused.", labels=("code",))
    for code, n in sorted(sums.refusals.items()):
        refusals.add_metric((code,), n)
    yield refusals
    seconds = HistogramMetricFamily("bamboo_request_seconds", "Time from request to answer.", labels=by_route)
    bounds = [*map(str, BOUNDS), "+Inf"]
    for key, classes in sorted(sums.seconds.items()):
        buckets = list(zip(bounds, accumulate(classes[:-1]), strict=True))
        seconds.add_metric(key, buckets, classes[-1])
    yield seconds


def _of_database(seen: InDatabase) -> Iterable[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    yield GaugeMetricFamily("bamboo_database_up", "Whether the database answers.", value=float(seen.is_up))
    jobs = GaugeMetricFamily("bamboo_jobs", "Jobs that are not over.", labels=("queue", "status"))
    for queue, by_status in sorted(seen.jobs.items()):
        for status, n in sorted(by_status.items()):
            jobs.add_metric((queue, status), n)
    yield jobs
    tasks = GaugeMetricFamily("bamboo_tasks", "Tasks.", labels=("status",))
    for status, n in sorted(seen.tasks.items()):
        tasks.add_metric((status,), n)
    yield tasks
    held = GaugeMetricFamily("bamboo_lease_held", "Whether somebody is at this work now.", labels=("name",))
    begun = GaugeMetricFamily(
        "bamboo_lease_last_run_timestamp_seconds", "When this work was last begun.", labels=("name",)
    )
    for work in seen.works:
        held.add_metric((work.name,), float(work.is_held))
        if work.last_run_at is not None:
            begun.add_metric((work.name,), work.last_run_at.timestamp())
    yield from (held, begun)
