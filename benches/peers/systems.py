"""The systems that are compared: how each is installed, started, and its rows read."""

import hashlib
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import rows

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TOOLS = Path(os.environ.get("COHORT_TOOLS") or Path.home() / ".cache/cohort/tools")


class Unavailable(Exception):
    """Why a system can't be had here."""


@dataclass
class Task:
    """One run: what to read and where to write."""

    # A folder: events.jsonl, and the same events by user in parts/*.jsonl.
    events: Path
    # The same of a few events, for systems that are slow when they are cold.
    warm_up: Path
    rules: Path
    output: Path
    # What start-up took, as far as the system can tell.
    report: Path
    workers: int


class System:
    name = ""
    version = ""
    # How it works, for the table.
    kind = ""
    # The most that it is given, so that a run ends in a minute or so: rules, events, and the one times the other.
    most_rules = most_events = most_work = math.inf
    # Whether its report tells start-up apart; else all of it counts.
    tells_startup = True
    # How the name of its output ends.
    ending = ".rows"

    def install(self):
        """Makes the system ready, or raises `Unavailable`."""

    def events_for(self, rules, events):
        """How many of the events it is given with so many rules."""
        return min(events, self.most_events, self.most_work // rules) if rules <= self.most_rules else 0

    def command(self, task):
        raise NotImplementedError

    def environment(self, task):
        return dict(os.environ)

    def rows(self, output):
        return rows.of_csv(output)


class Cohort(System):
    name = "cohort"
    kind = "streaming"
    tells_startup = False
    # It writes CSV by the name, as all others do.
    ending = ".csv"
    # What windows come to when they close, as all others say it, and nothing else.
    says = ("--emit", "final", "--without-exits")
    binary = None

    def install(self):
        if Cohort.binary is None:
            Cohort.binary = find_cohort()
        self.version = output_of([self.binary, "--version"]).split()[-1]

    def command(self, task):
        places = ["--input", task.events / "events.jsonl", "--rules", task.rules, "--output", task.output, "--json", task.report]
        return [self.binary, "replay", *places, *self.says, "--partitions", task.workers, "--workers", task.workers]

    def export(self, folder, rules, events, users):
        """Has a workload written: events.jsonl and rules-N.json."""
        sizes = ["--rules", *rules, "--events", events, "--users", users]
        subprocess.run(strings([self.binary, "bench", "--scenario", "classic-rules", *sizes, "--export", folder]), check=True)

    def rows(self, output):
        return rows.of_cohort(output)


class FollowingCohort(Cohort):
    """It follows who is a member, too, and says who ceases to be one."""

    name = "cohort-members"
    kind = "streaming, memberships and exits too"
    says = ("--emit", "final")


class EarlyCohort(Cohort):
    """As it runs live: memberships and exits, and rules that ask for more are told when they begin to hold."""

    name = "cohort-early"
    kind = "streaming, memberships, exits and early rows too"
    says = ("--emit", "as-written")

    def rows(self, output):
        return rows.last_of_each(rows.of_cohort(output))


class PythonPeer(System):
    """A script beside this file, with a package from PyPI in an environment of its own."""

    def __init__(self, name, version, kind):
        self.name, self.version, self.kind = name, version, kind
        self.home = TOOLS / f"peers-{name}-{version}"
        self.python = self.home / "bin/python"

    def install(self):
        installed = self.home / "installed"
        if installed.exists():
            return
        print(f"installing {self.name} {self.version} into {self.home}", file=sys.stderr)
        shutil.rmtree(self.home, ignore_errors=True)
        require([sys.executable, "-m", "venv", self.home], "a Python environment")
        require([self.python, "-m", "pip", "install", "--quiet", f"{self.name}=={self.version}"], f"{self.name} {self.version}")
        installed.touch()

    def command(self, task):
        places = ["--events", task.events, "--rules", task.rules, "--output", task.output, "--report", task.report]
        return [self.python, HERE / f"with_{self.name}.py", *places, "--workers", task.workers]


class Pathway(PythonPeer):
    def __init__(self):
        super().__init__("pathway", "0.33.0", "batch (static mode)")

    def rows(self, output):
        return rows.of_pathway(output)


class Bytewax(PythonPeer):
    most_events = 100_000

    def __init__(self):
        super().__init__("bytewax", "0.21.1", "streaming")


class RustPeer(System):
    """A program in a folder beside this file, which Cargo builds from its own lock file."""

    # As Cohort's: a process that has nothing to start, so that all of it counts.
    tells_startup = False

    def __init__(self, name, folder, kind):
        self.name, self.kind = name, kind
        self.manifest = HERE / folder / "Cargo.toml"
        self.version = re.search(f'^{name} = .*"=([^"]+)"', self.manifest.read_text(), re.MULTILINE)[1]
        self.home = TOOLS / f"peers-{name}-{self.version}"
        self.program = self.home / f"release/peer-{folder}"

    def install(self):
        if not self.program.exists():
            print(f"building {self.name} {self.version} in {self.home}", file=sys.stderr)
        places = [f"--manifest-path={self.manifest}", f"--target-dir={self.home}"]
        require(["cargo", "build", "--quiet", "--locked", "--release", *places], f"{self.name} {self.version}")

    def command(self, task):
        places = ["--events", task.events, "--rules", task.rules, "--output", task.output, "--report", task.report]
        return [self.program, *places, "--workers", task.workers]


class Dbsp(RustPeer):
    def __init__(self):
        super().__init__("dbsp", "dbsp", "streaming, changes of rows")

    def rows(self, output):
        return rows.of_changes(output)


class Laminar(RustPeer):
    def __init__(self):
        super().__init__("laminar-db", "laminar", "streaming")


class FlinkPeer(System):
    """A class of `flink/`, which Maven compiles."""

    OPENED = ["java.base/java.lang", "java.base/java.util", "java.base/java.time", "java.base/java.nio"]

    def __init__(self, name, kind, main_class):
        self.name, self.kind, self.main_class = name, kind, main_class
        self.version = re.search("<flink.version>(.*)</flink.version>", (HERE / "flink/pom.xml").read_text())[1]
        self.home = TOOLS / f"peers-flink-{self.version}"
        self.java = None

    def install(self):
        self.java = find_java()
        sources = sorted((HERE / "flink").rglob("*.java")) + [HERE / "flink/pom.xml"]
        stamp = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
        installed = self.home / "installed"
        if installed.exists() and installed.read_text() == stamp:
            return
        if not shutil.which("mvn") or not shutil.which("javac"):
            raise Unavailable("there is no Maven or no Java compiler")
        print(f"compiling the jobs for Flink {self.version} into {self.home}", file=sys.stderr)
        shutil.rmtree(self.home, ignore_errors=True)
        goals = ["compile", "dependency:copy-dependencies", f"-DoutputDirectory={self.home}/lib", "-DincludeScope=runtime"]
        require(["mvn", "-q", "-B", "-f", HERE / "flink/pom.xml", f"-Dhome={self.home}", *goals], f"Flink {self.version}")
        installed.write_text(stamp)

    def command(self, task):
        opened = [f"--add-opens={package}=ALL-UNNAMED" for package in self.OPENED]
        options = ["-Xmx4g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", *opened]
        places = [task.warm_up / "parts", task.events / "parts", task.rules, task.output, task.report, task.workers]
        return [self.java, *options, "-cp", f"{self.home}/classes:{self.home}/lib/*", self.main_class, *places]


class FlinkDataStream(FlinkPeer):
    most_rules = 1_000
    most_work = 20_000_000

    def __init__(self):
        super().__init__("flink-datastream", "streaming, each rule for each event", "cohort.peers.FlinkDataStream")


def find_cohort():
    given = os.environ.get("COHORT")
    if given:
        return Path(given).resolve()
    require(["cargo", "build", "--locked", "--release", "--bin", "cohort", f"--manifest-path={ROOT}/Cargo.toml"], "Cohort")
    return Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release/cohort"


def find_java():
    """The first Java of version 17 or later."""
    homes = [os.environ.get("JAVA_HOME", "/nonexistent"), *sorted(Path("/usr/lib/jvm").glob("*"))]
    for java in [f"{homes[0]}/bin/java", shutil.which("java"), *(f"{home}/bin/java" for home in homes[1:])]:
        if java and os.access(java, os.X_OK):
            version = re.search(r'version "(\d+)', output_of([java, "-version"]))
            if version and int(version[1]) >= 17:
                return java
    raise Unavailable("there is no Java 17")


def require(command, what):
    """Runs a step of an installation."""
    try:
        subprocess.run(strings(command), check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError as error:
        raise Unavailable(f"{what} could not be had: {error}") from error
    except subprocess.CalledProcessError as error:
        words = (error.stderr + error.stdout).strip().splitlines() or ["no reason given"]
        raise Unavailable(f"{what} could not be had: {words[0][:300]}") from error


def output_of(command):
    done = subprocess.run(strings(command), check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.strip()


def strings(command):
    return [str(word) for word in command]


COHORT = Cohort()

# In the order of the table.
SYSTEMS = [
    COHORT,
    FollowingCohort(),
    EarlyCohort(),
    FlinkPeer("flink-sql", "streaming", "cohort.peers.FlinkSql"),
    FlinkDataStream(),
    Laminar(),
    Dbsp(),
    PythonPeer("duckdb", "2.0.1", "batch"),
    PythonPeer("polars", "2.1.0", "batch"),
    Pathway(),
    Bytewax(),
]
