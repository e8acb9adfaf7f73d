"""The operator's room: starts the parts as processes, prepares databases, checks configurations, shows a demo.

It is the one room that may import all others, because it puts them together.
"""
