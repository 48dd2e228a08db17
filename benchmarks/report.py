# SPDX-License-Identifier: Apache-2.0
"""Write docs/benchmarks.md and its plots from the suite's JSON files.

    python benchmarks/report.py --ratios R.json ... [--workers W.json] [--bench B.json]
        [--memory M.json] [--many N.json ...] [--benchmark-json X.json ...] --into docs

B is the output of `s3crypt bench --json`, and each X is a file of pytest-benchmark. Benchmarks that
were not run get no section. Plots need matplotlib: pip install 's3crypt[report]'.
"""

import argparse
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ratios
import report_codec
import report_many
import report_ranges
import report_s3
import results
from page import Page, between, duration, median, table
from results import Results, Row
from s3crypt_cli.bench.measure import Spread, size_name
from workload import BenchmarkError

from s3crypt.errors import S3CryptError

# Reasons for missed bounds that lie in the machine or in a limit, and not in this code.
_COPY = (
    "On this machine, `cp` of the file takes 0.52 s (median of 5). To keep the promise, s3crypt "
    "would need about as little time as a plain copy, or less."
)
_REMARKS: dict[str, str] = {"age-encrypt": _COPY, "age-decrypt": _COPY}


# --- the promises ------------------------------------------------------------------------------

# In these rows, a round repeats its work many times, and its seconds are those of the whole batch.
_BATCHES = ("codec-", "threads-", "small-", "cached-")


def _promises(found: Results, _page: Page) -> Iterator[str]:
    bound = [row for row in _in_order(found.rows) if row.bound]
    kept, missed = ([row for row in bound if row.met is met] for met in (True, False))
    counted = f"{len(kept)} of {len(kept) + len(missed)} promises are kept"
    yield (
        "Each promise compares s3crypt with another tool, or with a limit. The name of a promise "
        "first says what s3crypt does. The part after the last comma names the other side of the "
        "comparison. For example, the bound `\u2265 2x` means that the other side needs at least "
        "twice the time of s3crypt, and the bound `\u2264 0.5x` means that s3crypt needs at most "
        "half as much as the other side. The bound `\u2264 140 MiB` limits the memory of s3crypt. "
        "In rows that begin with *2 columns of 20*, pyarrow reads two of the 20 columns of a "
        "Parquet file through `S3Crypt.open`. The official SDK is "
        f"{found.peer('aws-encryption-sdk')}. The other tools are {', '.join(_others(found))}."
    )
    yield f"{counted}. These promises are missed:" if missed else f"{counted}."
    if missed:
        yield "\n".join(map(_missed, missed))
        yield "The table has all promises:"
    heads = ("", "bound", "kept", "median", "middle half", "s3crypt, other side")
    yield from table(heads, map(_promised, bound))
    yield from _absent(found)
    others = [row for row in _in_order(found.rows) if not row.bound and row.median is not None]
    if others:
        yield "The rows of the next table have no bound. They explain the figures above." + (
            " The rows of the null server show its speed for a client that only moves bytes. No "
            "client can be faster."
            if any(row.name.startswith("server-") for row in others)
            else ""
        )
        yield from table(("", "median", "middle half"), map(_compared, others))


def _others(found: Results) -> list[str]:
    names = ("boto3", "age", "aws-encryption-cli", "s5cmd")
    return [found.peer(name) for name in names if name in found.machine["peers"]]


def _in_order(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of all runs in the order of ratios.py."""
    places = {row.name: place for place, row in enumerate(ratios.ROWS)}
    return sorted(rows, key=lambda row: places.get(row.name, len(places)))


def _absent(found: Results) -> Iterator[str]:
    """Yield a line that names the promises without a measurement."""
    measured = {row.name for row in found.rows}
    absent = [row.what for row in ratios.ROWS if row.bound and row.name not in measured]
    if absent:
        yield f"Not measured this time: {'; '.join(absent)}."


def _missed(row: Row) -> str:
    assert row.judged is not None
    reason = f" {_REMARKS[row.name]}" if row.name in _REMARKS else ""
    return (
        f"- {row.what} (measured **{_figure(row, row.judged)}**, promised {_bound(row)}).{reason}"
    )


def _promised(row: Row) -> tuple[str, ...]:
    if row.median is None or row.judged is None:
        # Cut off the installation command, which follows the colon, and a folder, which follows
        # " in ".
        reason = row.skipped.partition(": ")[0].partition(" in /")[0]
        return (_what(row), _bound(row), f"not measured: {reason}", "", "", "")
    met = "yes" if row.met else "**missed**"
    return (_what(row), _bound(row), met, _figure(row, row.judged), _spread(row), _behind(row))


def _compared(row: Row) -> tuple[str, ...]:
    assert row.median is not None
    what = row.what if row.unit == "x" else _what(row)
    return (what, _figure(row, row.median), _spread(row))


def _what(row: Row) -> str:
    # A remark about the frame length is shown only where the SDK's best frame length was chosen.
    says_it = row.remark.startswith("frames of") and "best" not in row.what
    return f"{row.what} ({row.remark})" if row.remark and not says_it else row.what


def _bound(row: Row) -> str:
    return row.bound.replace(">=", "\u2265").replace("<=", "\u2264").replace(" x", "x")


def _figure(row: Row, value: float) -> str:
    return f"{value:.2f}x" if row.unit == "x" else f"{value:,.0f} {row.unit}"


def _spread(row: Row) -> str:
    if row.low is None or row.high is None or len(row.figures) == 1:
        return "1 round"
    form = "{:.2f}" if row.unit == "x" else "{:,.0f}"
    return between(row.low, row.high, form.format)


def _behind(row: Row) -> str:
    """Return each side's median time, which shows which of the two sides changed."""
    if row.unit != "x" or row.name.startswith(_BATCHES):
        return ""
    return ", ".join(duration(Spread.of(values).median) for values in row.raw.values())


def _startup(found: Results, _page: Page) -> Iterator[str]:
    rows = [
        (_command(found, case.info["command"]), median(_milliseconds(case.seconds)))
        for case in found.of("bench_startup")
    ]
    yield from table(("command", "ms (middle half)"), rows)


def _command(found: Results, words: str) -> str:
    name = words.partition(" ")[0]
    return f"`{words}`" + (f" ({found.peer(name)})" if name in found.machine["peers"] else "")


def _milliseconds(took: Spread) -> Spread:
    values = (took.median, took.q1, took.q3, took.least, took.most)
    return Spread(*(value * 1e3 for value in values), took.rounds)


# --- the page ----------------------------------------------------------------------------------


def _machine(found: Results, _page: Page) -> Iterator[str]:
    machine = found.machine
    ours = ", ".join(
        f"{name} {version}" for name, version in machine["versions"].items() if version
    )
    memory = size_name(machine["memory_bytes"]) if machine["memory_bytes"] else "not known"
    rows = [
        ("CPU", machine["cpu"]),
        ("relevant instructions", " ".join(machine["flags"])),
        ("cores", str(machine["cores"])),
        ("memory", memory),
        ("system", machine["system"]),
        ("Python", machine["python"]),
        ("OpenSSL in `cryptography`", str(machine["openssl"]).removeprefix("OpenSSL ")),
        ("versions", ours),
        ("peers", ", ".join(found.peer(name) for name in machine["peers"])),
    ]
    yield from table(("", ""), rows, texts=2)


_METHOD = """\
Both sides of a ratio are measured in turns in the same run. Each ratio compares two neighbouring
measurements. The figure is the median of these ratios, and the *middle half* is the range between
their quartiles. For the promises, each transfer and each command runs in a new process. Neither
boto3 nor s3crypt hashes the payload to sign it, because neither would do so over TLS. boto3 has its
default settings, with 10 threads. MB/s and GB/s are 10^6 and 10^9 bytes of plaintext per second of
wall clock time. KiB, MiB and GiB are 2^10, 2^20 and 2^30 bytes. The *null server* is nginx. It
answers as S3 would, discards the data that it receives, and shares the cores with the client.
[benchmarks/README.md](../benchmarks/README.md) says which replies the server fakes, and how the
comparison is kept fair.

```sh
apt-get install nginx-light age
pip install -e '.[bench,report]'
python benchmarks/peers.py                              # what is there to measure against
python benchmarks/ratios.py --json ratios.json          # the promises; exit code 1 if one is missed
s3crypt bench --json > bench.json                       # frames, files
pytest benchmarks/bench_codec.py --benchmark-json=codec.json
pytest benchmarks/bench_messages.py --benchmark-json=messages.json
pytest benchmarks/bench_files.py --benchmark-json=files.json
pytest benchmarks/bench_transfers.py --benchmark-json=transfers.json
pytest benchmarks/bench_ranges.py --benchmark-json=ranges.json
pytest benchmarks/bench_kms.py --benchmark-json=kms.json
pytest benchmarks/bench_startup.py --benchmark-json=startup.json
python benchmarks/memory.py --json memory.json
python benchmarks/workers.py --json workers.json
python benchmarks/many.py --json many.json              # the rows, --delay and --busy of a table
python benchmarks/report.py --ratios ratios.json --workers workers.json --bench bench.json \\
    --memory memory.json --many many.json --into docs \\
    --benchmark-json {codec,messages,files,transfers,ranges,kms,startup}.json
```

To measure on any machine without the repository, run
[`s3crypt bench`](command.md#measuring-s3crypt-bench). The command takes a minute or less. If you
name a bucket, it also measures transfers to this bucket. `--html` makes a page with plots."""


def _method(_found: Results, _page: Page) -> Iterator[str]:
    yield _METHOD


_SECTIONS: tuple[tuple[str, Callable[[Results, Page], Iterator[str]]], ...] = (
    ("The promises", _promises),
    ("Frames against the limit", report_codec.frames),
    ("Transfers", report_s3.transfers),
    ("Many objects, and a large one far away", report_many.many),
    ("Ranges of a data set", report_ranges.ranges),
    ("Memory", report_s3.memory),
    ("Messages in one piece", report_codec.messages),
    ("Files", report_codec.files),
    ("KMS requests", report_s3.kms),
    ("Workers, near and far", report_s3.workers),
    ("Start-up", _startup),
    ("The machine", _machine),
    ("How it is measured, and how to repeat it", _method),
)


def written(found: Results) -> tuple[str, Mapping[str, str]]:
    """Return the text of the page, and its plots by name."""
    made = Page()
    blocks = ["<!-- benchmarks/report.py made this. -->", "# Benchmarks", *_opening(found)]
    for title, section in _SECTIONS:
        if said := list(section(found, made)):
            blocks += [f"## {title}", *said]
    return "\n\n".join(map(_wrapped, blocks)) + "\n", made.plots


def _wrapped(block: str) -> str:
    """Wrap a paragraph at 100 columns. Return any other block unchanged."""
    if "\n" in block or block.startswith(("|", "!", "#", "<")):
        return block
    return textwrap.fill(block, 100, break_long_words=False, break_on_hyphens=False)


def _opening(found: Results) -> Iterator[str]:
    if found.tiny:
        yield (
            "**Measured at tiny sizes, only to see that every benchmark runs: no figure means "
            "anything.**"
        )
    machine = found.machine
    taken = f" Measured on {', '.join(found.dates)}." if found.dates else ""
    yield (
        "How fast is s3crypt, compared with other tools and with plain boto3, and how much memory "
        "does it need? This page is for people who choose a tool, and for the maintainers of "
        "s3crypt, who check its promises."
    )
    yield (
        "**These are loopback figures of one virtual machine, not AWS's figures.** The machine "
        "shares its processor with other virtual machines. Client and server run on the same "
        f"{machine['cores']} cores ({machine['cpu']}). Absolute figures change with the machine "
        f"and with its other load, so compare ratios.{taken} See [the machine](#the-machine) and "
        "[how to repeat the measurements](#how-it-is-measured-and-how-to-repeat-it)."
    )


def write(found: Results, into: Path) -> None:
    """Write the page and its plots, and remove all earlier plots."""
    text, plots = written(found)
    folder = into / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for key, svg in plots.items():
        (folder / f"{key}.svg").write_text(svg, encoding="utf-8")
    (into / "benchmarks.md").write_text(text, encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make docs/benchmarks.md of JSON files.")
    several: dict[str, Any] = {"type": Path, "nargs": "+", "metavar": "FILE"}
    parser.add_argument("--ratios", **several, required=True, help="of ratios.py; the last counts")
    parser.add_argument("--workers", type=Path, metavar="FILE", help="of workers.py")
    parser.add_argument("--bench", type=Path, metavar="FILE", help="of s3crypt bench --json")
    parser.add_argument("--memory", type=Path, metavar="FILE", help="of memory.py")
    parser.add_argument("--many", **several, default=[], help="of many.py, in the page's order")
    parser.add_argument("--benchmark-json", **several, default=[], help="of pytest")
    parser.add_argument("--into", type=Path, required=True, metavar="FOLDER", help="the docs")
    return parser.parse_args()


def main() -> int:
    """Read the JSON files and write the page."""
    asked = _arguments()
    given = results.Files(
        asked.ratios, asked.workers, asked.bench, asked.memory, asked.benchmark_json, asked.many
    )
    try:
        write(results.read(given), asked.into)
    except (BenchmarkError, S3CryptError) as error:
        print(f"report.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
