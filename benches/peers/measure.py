"""Runs one process to its end and tells what it took: seconds, CPU seconds, and the peak memory of all its processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

# Memory is looked at this often; at first more often, so that short runs are seen too.
SAMPLE_SECONDS = 0.05
FIRST_SAMPLE_SECONDS = 0.002
# How much longer it is from sample to sample.
SAMPLE_GROWTH = 1.05
# Looking takes at most this part of a core's time, so that it does not slow down what is measured.
SHARE = 0.01
PAGE = os.sysconf("SC_PAGE_SIZE")


# The most memory that is touched before a run.
TOUCHED_BYTES = 4 << 30


class Failed(Exception):
    """A process that did not do its work."""


@dataclass
class Usage:
    seconds: float
    cpu_seconds: float
    # Resident memory, with the pages of files that are mapped and without.
    peak_bytes: int
    peak_private_bytes: int


def prepare():
    """Has what earlier runs wrote brought to disk, and memory at hand that a run will take.

    A virtual machine gives memory that nobody uses back to its host, and fetches it again page by page when it is touched: here a second a
    gigabyte, which is no part of what is measured. So a process of its own touches it, and ends just before the clock starts.
    """
    os.sync()
    with open("/proc/meminfo") as file:
        free = next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable:"))
    size = min(TOUCHED_BYTES, free // 2)
    touch = f"import mmap\nmemory = mmap.mmap(-1, {size}, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\nfor page in range(0, {size}, {PAGE}): memory[page] = 1"
    # Where there is too little memory for that, the run goes without.
    subprocess.run([sys.executable, "-c", touch], check=False)


def run(command, environment, log, timeout):
    """Runs a command in a session of its own, which is how its children are told."""
    with open(log, "wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        sampler = Sampler(process.pid)
        sampler.start()
        expired = threading.Event()
        timer = threading.Timer(timeout, lambda: (expired.set(), kill(process.pid)))
        timer.start()
        try:
            _, status, resources = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
        except BaseException:
            kill(process.pid)
            process.wait()
            raise
        finally:
            timer.cancel()
            sampler.stop()
    process.returncode = os.waitstatus_to_exitcode(status)
    if expired.is_set():
        raise Failed(f"not done after {timeout} s")
    if process.returncode != 0:
        raise Failed(f"exit status {process.returncode}: {last_words(log)}")
    return Usage(seconds, resources.ru_utime + resources.ru_stime, sampler.peak, sampler.peak_private)


def kill(session):
    try:
        os.killpg(session, signal.SIGKILL)
    except ProcessLookupError:
        pass


def last_words(log):
    with open(log, errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    causes = [line for line in lines if line.startswith("Caused by:")]
    return (causes or lines or ["it said nothing"])[-1][:300]


class Sampler(threading.Thread):
    """Adds up the memory of a session's processes again and again."""

    def __init__(self, session):
        super().__init__(daemon=True)
        self.session = session
        self.peak = self.peak_private = 0
        self.ended = threading.Event()

    def run(self):
        # A process of its own is there at once; what it starts, if anything, soon after.
        pause, processes, next_scan = FIRST_SAMPLE_SECONDS, [str(self.session)], time.monotonic() + SAMPLE_SECONDS
        while not self.ended.is_set():
            began = time.thread_time()
            if time.monotonic() >= next_scan:
                processes = members(self.session)
                next_scan = time.monotonic() + (time.thread_time() - began) / SHARE
                began = time.thread_time()
            memory = [memory_of(process) for process in processes]
            self.peak = max(self.peak, sum(resident for resident, _ in memory))
            self.peak_private = max(self.peak_private, sum(resident - shared for resident, shared in memory))
            self.ended.wait(max(pause, (time.thread_time() - began) / SHARE))
            pause = min(pause * SAMPLE_GROWTH, SAMPLE_SECONDS)

    def stop(self):
        self.ended.set()
        self.join()


def members(session):
    """The processes of a session."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = read(f"/proc/{name}/stat").rpartition(")")[2].split()
            # What follows the command: state, parent, group, session.
            if len(fields) > 3 and int(fields[3]) == session:
                found.append(name)
    return found


def memory_of(process):
    fields = read(f"/proc/{process}/statm").split()
    return (int(fields[1]) * PAGE, int(fields[2]) * PAGE) if len(fields) > 2 else (0, 0)


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
