"""Bamboo: a workload management system.

Users submit tasks, agents cut them into jobs, pilots run the jobs, one relational
database keeps everything. `docs/architecture.md` says which room holds what.
"""

__version__ = "0.1.0"
