"""JEDI: agents that turn tasks into jobs (manual ch. 7.1)."""

if not __name__.startswith("bamboo."):
    raise ImportError("this is a part of the package `bamboo`: import it as bamboo.jedi")
