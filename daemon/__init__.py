"""The cron replacement and its chores (manual ch. 7.2.2 and 11)."""

if not __name__.startswith("bamboo."):
    raise ImportError("this is a part of the package `bamboo`: import it as bamboo.daemon")
