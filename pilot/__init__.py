"""The pilot: takes jobs from the server, runs them on this machine, reports (manual ch. 7.3).

Standard library only, Python 3.9 or newer, Linux. `pilot.py` wires the components:

    job control -> data control -> payload control -> data control -> job control
    (acquire)      (stage-in)      (run)              (stage-out)     (report)

with heartbeat, listener, job monitor and pilot monitor beside them. `docs/pilot.md` is
the page for operators.
"""

PILOT_VERSION = "bamboo-0.1.0"
