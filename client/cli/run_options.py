"""The options of `bamboo run` that describe a task: prun's, by their names there (client protocol 7.4, 7.7)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from .options import prun_option

F = TypeVar("F", bound=Callable[..., Any])
COUNT = click.IntRange(min=1)


def with_options(command: F, *options: Callable[[F], F]) -> F:
    """A command with options, in the order in which its help shall list them."""
    for option in reversed(options):
        command = option(command)
    return command


def task_options(command: F) -> F:
    """Give a command all options that describe a task; each sets the field of `TaskSpec` that has its name."""
    for group in reversed((_work, _splitting, _choosing, _more_inputs, _side_jobs, _needs, _running, _files)):
        command = group(command)
    return command


def flag(name: str, text: str, **settings: Any) -> Callable[[F], F]:
    return prun_option(name, is_flag=True, help=text, **settings)


def _work(command: F) -> F:
    return with_options(
        command,
        prun_option("exec", required=True, metavar="COMMAND", help="What each job runs; %IN: its inputs, with commas."),
        prun_option("inDS", metavar="NAME,…", help="Datasets to process."),
        prun_option("inDsTxt", type=click.File(), help="Datasets to process, one a line of this file."),
        prun_option(
            "inFiles", metavar="PATH,…", help="Local files, globs or folders to process; makes the dataset <outDS>.in."
        ),
        prun_option("outDS", metavar="NAME", help="Name of the task and its outputs [default: user.<you>.<random>]."),
        prun_option(
            "outputs", metavar="FILE,…", help="What each job produces: x.txt, LABEL:x.txt, *.log, regex|pattern."
        ),
        prun_option("destSE", "dest_se", default="", metavar="STORAGE", help="Where the outputs go."),
        prun_option(
            "addNthFieldOfInDSToLFN", default="", metavar="N,…", help="These fields of inDS go into names of outputs."
        ),
        prun_option("addNthFieldOfInFileToLFN", default="", metavar="N,…", help="The same, of the first input file."),
        prun_option("descriptionInLFN", default="", metavar="TEXT", help="Taken and passed over, as prun 2.2.0 does."),
        flag("noSeparateLog", "Keep no logs."),
        flag("execWithRealFileNames", "In COMMAND, write outputs under the names that they are kept under."),
        prun_option("allowNoOutput", metavar="PATTERN,…", help="These outputs may be missing: regular expressions."),
        prun_option(
            "parentTaskID",
            "parent_task_id",
            type=COUNT,
            metavar="TASK",
            help="Wait for this task, which makes the inputs.",
        ),
    )


def _splitting(command: F) -> F:
    return with_options(
        command,
        prun_option("nJobs", type=COUNT, help="Number of jobs."),
        prun_option("nFiles", type=COUNT, help="Process only so many inputs."),
        prun_option("nFilesPerJob", type=COUNT, help="Inputs for each job."),
        prun_option("nGBPerJob", type=COUNT, help="Most GB of inputs for each job."),
        prun_option("nEvents", type=COUNT, help="Events to process or to make."),
        prun_option("nEventsPerJob", type=COUNT, help="Events for each job."),
        prun_option("nEventsPerFile", type=COUNT, help="Events in each input."),
        prun_option(
            "nEventsPerWorker",
            type=COUNT,
            help="Hand out so many events at a time: the event service, with --mergeOutput.",
        ),
        prun_option("maxNFilesPerJob", type=COUNT, default=200, show_default=True, help="Most inputs for one job."),
        prun_option("maxAttempt", type=click.IntRange(1, 50), help="How often each input is tried."),
    )


def _choosing(command: F) -> F:
    return with_options(
        command,
        prun_option("match", metavar="PATTERN,…", help="Only inputs with such names; * stands for anything."),
        prun_option("antiMatch", metavar="PATTERN,…", help="No inputs with such names."),
        prun_option("inputFileList", type=click.File(), help="Only inputs named in this file, one a line."),
        prun_option("nSkipFiles", type=COUNT, help="Leave out the first inputs."),
        flag("skipEmptyInput", "Leave out inputs without events."),
        flag("useLogAsInput", "Process log archives too."),
        flag("notExpandInDS", "Let a job read files of several datasets of a container."),
        prun_option("skipFilesUsedBy", metavar="TASK,…", help="Leave out inputs that these tasks have processed."),
        flag("respectLB", "Keep luminosity blocks together."),
        prun_option("writeInputToTxt", metavar="IN:FILE", help="Have the names of inputs written to a file."),
        flag("forceStaged", "Copy the inputs before the command starts."),
        prun_option(
            "transferType", default="", metavar="TYPE,…", help="How inputs may be read: root, direct, davs, file."
        ),
    )


def _more_inputs(command: F) -> F:
    return with_options(
        command,
        prun_option("pfnList", type=click.File(), help="Process the addresses in this file, one a line, as they are."),
        prun_option("secondaryDSs", metavar="STREAM:N:DATASET,…", help="N files of it go to each job as %STREAM."),
        prun_option("reusableSecondary", metavar="STREAM,…", help="Begin these again when they are used up."),
        flag("useNumFilesInSecDSsAsRatio", "N is for each main input, not for each job."),
        flag("notExpandSecDSs", "The same as --notExpandInDS for secondary datasets."),
        prun_option(
            "dbRelease", default="", metavar="DATASET:FILE", help="A database release for each job; or LATEST."
        ),
        prun_option(
            "inOutDsJson", type=click.File(), help='A task for each pair of this file: [{"inDS": …, "outDS": …}].'
        ),
    )


def _side_jobs(command: F) -> F:
    return with_options(
        command,
        prun_option("bexec", metavar="COMMAND", help="Build with this, in a job before the others."),
        flag("noBuild", "No build job; so it is anyway, without --bexec and --noCompile."),
        flag("noCompile", "Let a build job bring the sandbox, with what you have built here."),
        flag("mergeOutput", "Put the outputs of several jobs together."),
        prun_option("mergeScript", metavar="COMMAND", help="Merge with this: SCRIPT, or a command with %IN and %OUT."),
        flag("mergeLog", "Merge logs too."),
        flag("mergeSingleFile", "Call the script for single files too."),
        prun_option("nGBPerMergeJob", "n_gb_per_merge_job", type=COUNT, help="Most GB for each merge job."),
        prun_option("containerImage", metavar="IMAGE", help="Run COMMAND in this image, such as docker://alpine:3."),
    )


def _needs(command: F) -> F:
    return with_options(
        command,
        prun_option("memory", "memory_mb", type=COUNT, metavar="MB", help="Memory for each job, per core."),
        prun_option("nCore", type=COUNT, help="Cores for each job."),
        prun_option("maxCore", type=COUNT, help="Most cores for a job."),
        prun_option("maxWalltime", "max_walltime_hours", type=COUNT, metavar="HOURS", help="Longest time for a job."),
        prun_option("cpuTimePerEvent", type=COUNT, metavar="HS06S", help="CPU time of each event."),
        flag("fixedCpuTime", "Keep to this CPU time, whatever the first jobs show."),
        prun_option("outDiskCount", type=COUNT, metavar="KB", help="Output for each MB of input."),
        prun_option("architecture", default="", help="The platform that the jobs need."),
        prun_option("site", metavar="NAME,…", help="Run there only."),
        flag("avoidVP", "Ask for no queues without storage of their own; kept as information."),
        flag("osMatching", "Ask for the operating system of this machine; kept as information."),
        prun_option("excludedSite", metavar="NAME,…", help="Do not run there; * stands for anything."),
    )


def _running(command: F) -> F:
    return with_options(
        command,
        prun_option("priority", type=int, help="Order among your own tasks."),
        prun_option("vo", default="bamboo", show_default=True, help="The organisation the task belongs to."),
        flag("official", "For a group: outputs under group.GROUP.; needs the role production."),
        prun_option("workingGroup", metavar="GROUP", help="Work for this group."),
        flag("useSecrets", "Give the jobs your secrets: see `bamboo secret`."),
        prun_option(
            "expertOnly_skipScout", "skip_scout", is_flag=True, help="Run all jobs at once, without trying a few first."
        ),
        flag("disableAutoRetry", "Do not try failed jobs again."),
        flag("noLoopingCheck", "Do not end jobs that do nothing for long."),
        flag("debugMode", "Show what the jobs print while they run."),
        flag("noEmail", "Send no mail."),
        flag("allowTaskDuplication", "Make a new task though there was one of this name."),
        flag("useNewCode", "When the task of this name runs again, run it with this sandbox."),
    )


def _files(command: F) -> F:
    return with_options(
        command,
        prun_option(
            "workDir",
            type=click.Path(path_type=Path),
            help="Whose files go along [default: this directory].",
        ),
        prun_option("extFile", metavar="PATTERN,…", help="Take these files along though they are large or data."),
        prun_option("excludeFile", metavar="PATTERN,…", help="Leave these files and folders behind."),
    )
