"""Scouts: what the first jobs of a task say about the others (manual ch. 2.6 and 15)."""
