"""Live views: streams of server-sent events about tasks, jobs and the output of jobs (HTML standard, chapter 9.2).

A route answers with what there is (`route.py`), and the gateway goes on from there on its event loop (`streams.py`),
where a stream costs a socket and no thread: one poller a process asks the database for all of them (`feeds.py`).

Pilots have such streams too, which tell them that there is an order for their job.
"""
