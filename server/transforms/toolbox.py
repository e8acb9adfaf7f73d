"""What every transform uses: how it speaks, reads its arguments, runs a command and ends."""

import argparse
import ast
import os
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

EXIT_SYSTEM = 1
EXIT_BAD_ARGUMENT = 10
EXIT_NO_INPUT = 11


class TransformError(Exception):
    """The transform cannot do its work; carries the exit code."""

    def __init__(self, exit_code: int, why: str) -> None:
        super().__init__(why)
        self.exit_code = exit_code


def say(words: str) -> None:
    """Write a line for the person who reads payload.stdout."""
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


class Options(argparse.ArgumentParser):
    """Reads a transform's arguments: a value may begin with `-`, and what is not known is told and ignored."""

    def __init__(self, name: str, purpose: str) -> None:
        super().__init__(prog=name, description=purpose, allow_abbrev=False)

    def error(self, message: str) -> Any:
        """Refuse the arguments; raises TransformError."""
        raise TransformError(EXIT_BAD_ARGUMENT, message)

    def accept(self, *names: str, **more: Any) -> None:
        """Let options pass that mean nothing here."""
        for name in names:
            self.add_argument(name, help=argparse.SUPPRESS, **more)

    def read(self, argv: List[str]) -> argparse.Namespace:
        """Read the arguments; raises TransformError."""
        options, others = self.read_some(argv)
        if others:
            say("arguments without meaning here, ignored: " + " ".join(others))
        return options

    def read_some(self, argv: List[str]) -> Tuple[argparse.Namespace, List[str]]:
        """Read the options, and give the other words as they are; raises TransformError."""
        return self.parse_known_args(self._glued(argv))

    def _glued(self, argv: List[str]) -> List[str]:
        """Join an option and its value by `=`, so that the value cannot be taken for an option."""
        taking = (action for action in self._actions if action.nargs is None)
        with_value = {name for action in taking for name in action.option_strings}
        glued = []  # type: List[str]
        words = iter(argv)
        for word in words:
            value = next(words, None) if word in with_value else None
            glued.append(word if value is None else f"{word}={value}")
        return glued


def read_literal(option: str, words: str, kind: type, faults: List[str]) -> Any:
    """Read a Python literal, as the client writes dicts and lists; nothing is evaluated."""
    try:
        value = ast.literal_eval(words.strip() or repr(kind()))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = words
        if kind is list and re.match(r"^[\w.:,/ -]+$", words):  # plain `a,b` is as good as a list
            value = [word for word in re.split(r"[, ]+", words) if word]
    if isinstance(value, kind):
        return value
    faults.append(f"{option}: {words[:200]!r} is not a {kind.__name__} in Python's notation")
    return kind()


def refuse(faults: List[str]) -> None:
    """Raise TransformError with all faults, if there are any."""
    if faults:
        raise TransformError(EXIT_BAD_ARGUMENT, "; ".join(faults))


def is_plain_name(name: Any) -> bool:
    """Tell whether a text names a file in the current directory and nothing else."""
    return isinstance(name, str) and name not in ("", ".", "..") and "/" not in name and "\0" not in name


def fresh(path: Path) -> Path:
    """Give a path that is free to write to: writing to a staged-in file would go through its link to the storage."""
    if path.is_symlink() or path.exists():
        path.unlink()
    return path


def folder_below(work_dir: Path, name: str) -> Path:
    """Give the folder that `-r` names below the work directory, made if need be; raises TransformError."""
    folder = (work_dir / name).resolve()
    if work_dir.resolve() not in (folder, *folder.parents):
        raise TransformError(EXIT_BAD_ARGUMENT, f"-r {name!r} leads out of the work directory")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def unquoted(command: str) -> str:
    """Decode a command that travelled percent-encoded."""
    return urllib.parse.unquote(command)


def run_command(argv: List[str], folder: Path, variables: Optional[Dict[str, str]] = None) -> int:
    """Run a command in a folder; gives its exit code as a shell would: 128 + signal when a signal ended it."""
    sys.stdout.flush()
    environment = dict(os.environ, **(variables or {}))
    environment["PATH"] = ".:" + environment.get("PATH", os.defpath)
    code = subprocess.call(argv, cwd=str(folder), env=environment)
    say(f"command ended with code {code}")
    return 128 - code if code < 0 else code


def exit_code_of(code: int) -> int:
    """Give a command's code as the transform's own: modulo 255, but never 0 for a failure."""
    return code % 255 or (1 if code else 0)


def main_of(name: str, transform: Callable[[List[str], Path], int]) -> int:
    """Run a transform in the current directory; every refusal is one clear line."""
    try:
        return transform(sys.argv[1:], Path.cwd())
    except TransformError as error:
        return _end(name, error, error.exit_code)
    except OSError as error:
        return _end(name, error, EXIT_SYSTEM)


def _end(name: str, error: Exception, exit_code: int) -> int:
    """Say why, to people in stdout, and as the last line of stderr, which pilots report."""
    line = f"ERROR: {name}: {error}"
    say(line)
    sys.stderr.write(" ".join(line.split()) + "\n")
    return exit_code
