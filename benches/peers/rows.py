"""The rows that systems wrote, and whether they are the same: (rule, user, start of the window) and a value for each."""

import csv
import math
from collections import Counter
from pathlib import Path

# Sums are added up in different orders.
RELATIVE_TOLERANCE = 1e-6


def of_csv(output):
    """Rows from a CSV file, or from all files of a folder."""
    output = Path(output)
    files = sorted(path for path in output.rglob("*") if path.is_file()) if output.is_dir() else [output]
    for path in files:
        # Other files are not finished, or are notes of the system's own.
        if not path.name.startswith(("_", ".")):
            with open(path, newline="") as file:
                for rule, user, start, value in csv.reader(file):
                    yield f"{rule},{user},{start}", float(value)


def of_pathway(output):
    """Rows from a file of changes: each with a time and +1, or -1 when it is taken back."""
    with open(output, newline="") as file:
        changes = csv.reader(file)
        next(changes)
        found = Counter()
        for rule, user, start, value, _, change in changes:
            found[f"{rule},{user},{start}", float(value)] += int(change)
    return found.elements()


def of_changes(output):
    """Rows from all files of a folder of changes: each with how many rows come, or go if it is less than none."""
    found = Counter()
    for path in sorted(Path(output).iterdir()):
        with open(path, newline="") as file:
            for rule, user, start, value, change in csv.reader(file):
                found[f"{rule},{user},{start}", float(value)] += int(change)
    return found.elements()


def of_cohort(output):
    """Rows from the results of `cohort replay`, without those that tell of exits."""
    with open(output, newline="") as file:
        results = csv.reader(file)
        names = next(results)
        rule, user, start, value, qualified = (names.index(name) for name in ("ruleId", "userId", "windowStart", "value", "qualified"))
        for result in results:
            if result[qualified] == "true":
                yield f"{result[rule]},{result[user]},{result[start]}", float(result[value])


def last_of_each(rows):
    """What was told last, where early rows are followed by the final ones."""
    return dict(rows).items()


class Reference:
    """Rows that others are compared with."""

    def __init__(self, rows):
        self.values = {}
        for key, value in rows:
            if key in self.values:
                raise ValueError(f"two rows of {key}")
            self.values[key] = value

    def difference(self, rows):
        """`None` if other rows are the same, else how many are not and one example."""
        found, counts, example = set(), {"extra": 0, "missing": 0, "other value": 0}, None
        for key, value in rows:
            expected = self.values.get(key)
            if expected is None or key in found:
                counts["extra"] += 1
                example = example or f"{key}: {value} is too many"
            elif not math.isclose(value, expected, rel_tol=RELATIVE_TOLERANCE):
                counts["other value"] += 1
                example = example or f"{key}: {value} instead of {expected}"
            found.add(key)
        counts["missing"] = sum(key not in found for key in self.values)
        if counts["missing"]:
            key = next(key for key in self.values if key not in found)
            example = example or f"{key}: {self.values[key]} is missing"
        return {"counts": counts, "example": example} if any(counts.values()) else None
