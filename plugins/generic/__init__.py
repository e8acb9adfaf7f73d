"""The built-in plugins: simple rules that fit any organisation."""

from .adder import CatalogueAdder
from .catalogue import LocalCatalogue
from .copytools import BuiltInCopyTools
from .data_locality import DataLocalityUpdater
from .discarding import LocalDiscarder
from .job_broker import GenericJobBroker
from .mail import MailNotifier
from .post_processor import GenericPostProcessor
from .pseudo import PseudoInputs
from .queue_filler import QueueFiller
from .refiner import GenericTaskRefiner
from .retry import RetryRules
from .setupper import CatalogueSetupper
from .splitter import GenericSplitter
from .task_broker import GenericTaskBroker
from .task_timeouts import TaskTimeouts
from .task_withholder import TaskWithholder
from .throttler import GenericThrottler

#: The order in which they are registered: of two that answer, the later is asked first.
BUILT_IN: tuple[type, ...] = (
    GenericTaskRefiner,
    LocalCatalogue,
    PseudoInputs,
    GenericTaskBroker,
    GenericJobBroker,
    GenericThrottler,
    GenericSplitter,
    CatalogueSetupper,
    CatalogueAdder,
    LocalDiscarder,
    RetryRules,
    GenericPostProcessor,
    MailNotifier,
    TaskTimeouts,
    BuiltInCopyTools,
)

#: Built-in plugins that work only where `modConfig` names them.
ON_REQUEST: tuple[type, ...] = (DataLocalityUpdater, TaskWithholder, QueueFiller)


def _path(plugin: type) -> str:
    return f"{plugin.__module__}:{plugin.__name__}"


#: Classes that PanDA's example configuration names (manual ch. 5.4, 9.2.3 and 21.1), and ours of the same purpose.
PANDA_NAMES = {
    "GenTaskRefiner": _path(GenericTaskRefiner),
    "GenDDMClient": _path(LocalCatalogue),
    "GenTaskBroker": _path(GenericTaskBroker),
    "GenJobBroker": _path(GenericJobBroker),
    "GenJobThrottler": _path(GenericThrottler),
    "GenTaskSetupper": _path(CatalogueSetupper),
    "GenPostProcessor": _path(GenericPostProcessor),
    "GenWatchDog": _path(TaskTimeouts),
    "ProdWatchDog": _path(TaskTimeouts),
    "AtlasDataLocalityUpdaterWatchDog": _path(DataLocalityUpdater),
    "AtlasTaskWithholderWatchDog": _path(TaskWithholder),
    "AtlasQueueFillerWatchDog": _path(QueueFiller),
}
