"""The agents, and the section of panda_jedi.cfg that says how many of each there are."""

from ..context import Context
from .contents_feeder import ContentsFeeder
from .job_generator import JobGenerator
from .job_merger import JobMerger
from .post_processor import PostProcessor
from .scout_evaluator import ScoutEvaluator
from .task_broker import TaskBroker
from .task_commando import TaskCommando
from .task_refiner import TaskRefiner
from .watch_dog import TaskEnder, WatchDog

Agent = (
    ContentsFeeder
    | JobGenerator
    | JobMerger
    | PostProcessor
    | ScoutEvaluator
    | TaskBroker
    | TaskCommando
    | TaskEnder
    | TaskRefiner
    | WatchDog
)

#: The section of each agent's `procConfig` (manual ch. 9.2.3).
AGENTS: dict[str, tuple[type[Agent], ...]] = {
    "taskrefine": (TaskRefiner,),
    "confeeder": (ContentsFeeder,),
    "taskbroker": (TaskBroker,),
    "jobgen": (JobGenerator, JobMerger),
    "postprocessor": (PostProcessor, ScoutEvaluator),
    "watchdog": (TaskEnder, WatchDog),
    "tcommando": (TaskCommando,),
}

__all__ = [
    "AGENTS",
    "Agent",
    "ContentsFeeder",
    "Context",
    "JobGenerator",
    "JobMerger",
    "PostProcessor",
    "ScoutEvaluator",
    "TaskBroker",
    "TaskCommando",
    "TaskEnder",
    "TaskRefiner",
    "WatchDog",
]
