"""Why tasks, jobs and queues are where they are: the whole chain, each step from the code that decides.

Nothing here decides. Brokers and throttlers are asked through the same `Question` that the Job Generator puts, the
dispatcher by the conditions of its claim, shares by their order; where an answer hangs on a moment that is gone, such
as the last pilot that found nothing, the decision recorded then is shown.
"""
