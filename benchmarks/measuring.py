"""What measurements of a running server share: a load with what it cost each side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .database import Databases
from .load import Request, Source, Tally, http_request, run_load
from .processes import cpu_seconds
from .report import Report
from .server import Server
from .sources import Lives, Repeated

#: The load generator's own processes.
LOAD_PROCESSES = 2
#: Lives that a server sees before it is measured: statements are put together and connections opened by then.
WARM_LIVES = 60
WARM_SECONDS = 20.0


@dataclass(frozen=True)
class Setting:
    """What every measurement is given: where to make databases, a seed, and whether it is only to be tried."""

    databases: Databases
    seed: int
    quick: bool = False


@dataclass(frozen=True)
class Measured:
    """A load, and the processor time that it took on each side."""

    tally: Tally
    server_cpu_seconds: float
    database_cpu_seconds: float

    def figures(self, rate: float) -> dict[str, float]:
        """The figures of a row: a rate, times, processor time for each request, faults."""
        n = max(1, self.tally.n)
        figures = {"per s": rate, "p50 ms": self.tally.p_ms(50), "p99 ms": self.tally.p_ms(99)}
        if self.server_cpu_seconds:
            figures["server µs"] = 1e6 * self.server_cpu_seconds / n
        if self.database_cpu_seconds:
            figures["database µs"] = 1e6 * self.database_cpu_seconds / n
        figures["client µs"] = 1e6 * self.tally.cpu_seconds / n
        figures["errors"] = sum(self.tally.errors.values())
        return figures


def measured(
    server: Server | Sequence[Server],
    databases: Databases,
    sources: Sequence[Source],
    *,
    connections: int,
    seconds: float,
) -> Measured:
    """Put a load on a server, or on several in turn; `connections` are those of all sources together."""
    servers = [server] if isinstance(server, Server) else server
    pids, database = [one.pid for one in servers], [databases.server_pid] if databases.server_pid else []
    before = cpu_seconds(pids), cpu_seconds(database)
    addresses = [one.address for one in servers]
    tally = run_load(addresses, sources, connections=max(1, connections // len(sources)), seconds=seconds)
    after = cpu_seconds(pids), cpu_seconds(database)
    return Measured(tally, after[0] - before[0], after[1] - before[1])


def warm_up(server: Server, databases: Databases, queues: Sequence[str], *, seed: int, connections: int) -> None:
    """Let a server do everything once."""
    token = server.pilot_token()
    sources = [Lives(token, queues, seed - 1 - at, WARM_LIVES // LOAD_PROCESSES) for at in range(LOAD_PROCESSES)]
    measured(server, databases, sources, connections=connections, seconds=WARM_SECONDS)


def bare_replies(server: Server, databases: Databases, *, connections: int, seconds: float) -> Measured:
    """The rate of /livez: what generator, HTTP and Flask allow without a database."""
    request = Request("livez", http_request("GET", "/livez"))
    sources = [Repeated(request) for _ in range(LOAD_PROCESSES)]
    return measured(server, databases, sources, connections=connections, seconds=seconds)


def tell_errors(report: Report, what: str, tally: Tally, most: int = 5) -> None:
    """Say which errors there were."""
    report.notes += [f"{what}: {n} times {error}" for error, n in tally.errors.most_common(most)]


def named(**sizes: Any) -> str:
    """A number of something for people: 10^5 where it is a power of ten."""
    return ", ".join(f"{_power(value)} {name}" for name, value in sizes.items())


def _power(value: int) -> str:
    text = str(value)
    return f"10^{len(text) - 1}" if text.strip("0") == "1" and value >= 1000 else f"{value:,}".replace(",", " ")
