"""Processes of this machine: told apart from later ones of the same number, weighed, and ended.

A process is known by a mark: its start, and the name of its machine and the boot of it as digests,
so that a process of another machine is not taken for one of this.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

PROC = Path("/proc")
KILOBYTE = 1024
OOM_SCORE = "1000"
ASK_SECONDS = 5.0


def start(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one; what it prints is added to a file.

    Raises:
        OSError: It cannot be started, or the file cannot be written.
    """
    flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    flags |= getattr(subprocess, "DETACHED_PROCESS", 0)
    with log.open("ab") as stream:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
            creationflags=flags,
        )


def birth(pid: int) -> str:
    """What tells a living process from later ones of the same number; empty when it is gone.

    On Linux the tick of its start since boot, elsewhere its start as `ps` tells it; then "@" and
    the machine.
    """
    if PROC.joinpath("self").exists():
        fields = _stat(pid)
        began = "" if fields is None or fields[0] in "ZX" else fields[19]
    else:
        began = _asked(pid, "lstart")
    return f"{began}@{_machine()}" if began else ""


def can_watch() -> bool:
    """Whether processes can be told apart here at all; not so on Windows."""
    return birth(os.getpid()) != ""


def is_elsewhere(mark: str) -> bool:
    """True for the mark of a process of another machine, of which nothing can be told here."""
    place = mark.partition("@")[2]
    return bool(place) and place.partition(".")[0] != _machine().partition(".")[0]


def give_first(pid: int) -> None:
    """Let the system, when it is out of memory, end this process and its children before others."""
    with suppress(OSError):
        PROC.joinpath(str(pid), "oom_score_adj").write_text(OOM_SCORE, "ascii")


@cache
def _machine() -> str:
    """Digests of the name and of the present boot of this machine, as they stand in a mark."""
    try:
        boot = PROC.joinpath("sys", "kernel", "random", "boot_id").read_text("ascii").strip()
    except OSError:
        boot = ""
    names = (socket.gethostname(), boot)
    return ".".join(hashlib.sha256(name.encode()).hexdigest()[:12] for name in names)


def is_alive(pid: int, mark: str) -> bool:
    """True while the very process that `mark` was taken from goes on."""
    return bool(mark) and birth(pid) == mark


def memory_mb(pid: int) -> int:
    """Memory of a process and of those that it has started, megabytes (2^20 bytes).

    Pages that several of them share are shared out among them where the system tells so much.
    """
    if PROC.joinpath("self").exists():
        members = {pid, *_members(pid)}
        return sum(_kilobytes(each) for each in members) // KILOBYTE
    kilobytes = _asked(pid, "rss")
    return int(kilobytes) // KILOBYTE if kilobytes.isdigit() else 0


def end(pid: int, mark: str) -> None:
    """End a process and those that it has started, at once; nothing if it is gone."""
    if not is_alive(pid, mark):
        return
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg") and os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
            return
    end_one(pid)


def sweep(pid: int, mark: str) -> None:
    """End what a process of this machine and boot that is gone has left behind.

    Args:
        pid: Its number, which is that of the session of its children. mark: What it was known by.
    """
    began, _, place = mark.partition("@")
    if place != _machine() or not began.isdigit() or PROC.joinpath(str(pid)).exists():
        return
    for member in _members(pid):
        fields = _stat(member)
        if fields is not None and int(fields[19]) >= int(began):
            end_one(member)


def end_one(pid: int) -> None:
    """End one process at once; nothing if it is gone or not ours."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def physical_mb() -> int:
    """Memory of this machine, or of the container it runs in, megabytes; 0 where unknown."""
    try:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // KILOBYTE**2
    except (AttributeError, OSError, ValueError):
        return 0
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text("ascii").strip()
    except OSError:
        return whole
    return min(whole, int(limit) // KILOBYTE**2) if limit.isdigit() else whole


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on; None when there is no such process.

    The name before them stands in brackets and may hold anything.
    """
    try:
        text = PROC.joinpath(str(pid), "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _members(session: int) -> list[int]:
    """Processes of a session, which is the number of the process that opened it."""
    numbers = (int(path.name) for path in PROC.iterdir() if path.name.isdigit())
    return [n for n in numbers if (fields := _stat(n)) is not None and fields[3] == str(session)]


def _kilobytes(pid: int) -> int:
    """Proportional set size, or resident set size where that is not told, kilobytes."""
    for name, word in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            text = PROC.joinpath(str(pid), name).read_text("utf-8", "replace")
        except OSError:
            continue
        found = [line.split()[1] for line in text.splitlines() if line.startswith(word)]
        if found:
            return int(found[0])
    return 0


def _asked(pid: int, field: str) -> str:
    """A field of a process as `ps` tells it; empty where there is neither."""
    if sys.platform == "win32":
        return ""
    try:
        answer = subprocess.run(
            ["ps", "-o", f"{field}=", "-p", str(pid)],
            capture_output=True,
            text=True,
            timeout=ASK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()
