# SPDX-License-Identifier: Apache-2.0
"""`s3crypt bench`: its report and comparison, and that it leaves nothing behind."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import subprocess
import sys
import threading
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest
from relay import Answer, Asked, relaying
from s3crypt_cli.bench import compare, measure, page, report, tables, terminal

from s3crypt.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from s3crypt.sandbox import Running

pytestmark = pytest.mark.xdist_group("bench")

_COMMAND = (sys.executable, "-m", "s3crypt_cli", "bench", "--seconds", "0.5")
# The same command as `_COMMAND`, in a process that reacts to ctrl-C even where the tests ignore it.
_HEEDING = (
    sys.executable,
    "-c",
    """if True:
        import signal
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from s3crypt_cli.main import main
        main()
    """,
    "bench",
)
_SVG = "http://www.w3.org/2000/svg"


class _Outcome(NamedTuple):
    """The results of one run of the command."""

    json: dict[str, Any]
    html: str
    folder: Path


def _run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_COMMAND, *arguments], capture_output=True, text=True, check=False, **options
    )


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> _Outcome:
    """Run the command once, for the shortest time, without access to any service."""
    folder = tmp_path_factory.mktemp("bench")
    temporary = folder / "temporary"
    temporary.mkdir()
    environment = {name: text for name, text in os.environ.items() if name[:4] != "AWS_"}
    environment |= {"TMPDIR": str(temporary), "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    done = _run("--json", "--html", "page.html", cwd=folder, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(temporary.iterdir())
    (folder / "report.json").write_text(done.stdout)
    return _Outcome(json.loads(done.stdout), (folder / "page.html").read_text(), folder)


def _samples(outcome: _Outcome, group: str) -> list[dict[str, Any]]:
    return [sample for sample in outcome.json["samples"] if sample["group"] == group]


def test_json_says_what_it_is(outcome: _Outcome) -> None:
    """The JSON names its schema, the schema's version, the machine and the libraries."""
    said = outcome.json
    assert (said["schema"], said["version"]) == ("s3crypt-bench", 1)
    assert said["machine"]["cores"] >= 1
    assert {"python", "s3crypt", "cryptography", "boto3", "botocore", "awscrt"} <= set(
        said["versions"]
    )
    assert "OpenSSL" in said["versions"]["openssl of cryptography"]
    assert said["endpoint"] is said["comparison"] is None
    assert "touched a network" in said["remarks"][0]


def test_json_has_samples_of_everything(outcome: _Outcome) -> None:
    """Each sample has its spread over at least three rounds."""
    assert {sample["group"] for sample in outcome.json["samples"]} >= {
        "limits",
        "codec",
        "small",
        "files",
    }
    for sample in outcome.json["samples"]:
        assert 0 < sample["least"] <= sample["q1"] <= sample["median"]
        assert sample["median"] <= sample["q3"] <= sample["most"]
        assert sample["rounds"] >= 3
        assert sample["better"] == ("more" if sample["unit"] == "GB/s" else "less")


def test_the_codec_is_held_against_the_limit(outcome: _Outcome) -> None:
    """At each frame length the report compares the codec with the limit, round by round."""
    codec = _samples(outcome, "codec")
    assert {sample["what"] for sample in codec} == {"seal", "open"}
    assert {sample["size"] for sample in codec} == {2**12, 2**16, 2**18, 2**20, 2**22}
    for sample in codec:
        assert sample["of_limit"]["rounds"] == sample["rounds"]
        assert (sample["of_one_thread"] is None) == (sample["threads"] == 1)


def test_what_does_not_fit_is_named(outcome: _Outcome) -> None:
    """The report names a measurement that does not fit into half a second, with its reason."""
    missing = {
        (entry["group"], entry["what"]): entry["reason"] for entry in outcome.json["missing"]
    }
    assert "--seconds" in missing["files", "1 GiB"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are known on Linux")
def test_memory_is_that_of_the_child(outcome: _Outcome) -> None:
    """Memory does not grow with the size, and does not include the measuring process."""
    peaks = [sample["median"] for sample in _samples(outcome, "memory")]
    assert peaks
    assert max(peaks) < min(peaks) * 1.5


class _Page(HTMLParser):
    """Collects elements, attributes and ids; fails at an element that is not closed."""

    _VOID = frozenset({"meta", "br", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in self._VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the element, which has no content."""
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Check that the element is the last opened element."""
        assert self._open.pop() == tag


def test_the_page_loads_nothing(outcome: _Outcome) -> None:
    """The page has no external address, no script, and no link that leaves the page."""
    text = outcome.html
    assert not re.search(r"(https?:)?//", text.replace(_SVG, ""))
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    elements = _Page(text).elements
    assert not {"script", "link", "img", "iframe", "image"} & {tag for tag, _ in elements}
    ids = [found["id"] for _, found in elements if "id" in found]
    assert len(ids) == len(set(ids))
    for _, found in elements:
        assert "src" not in found
        target = found.get("href")
        assert target is None or target[1:] in ids


def test_plots_are_xml_and_say_what_they_show(outcome: _Outcome) -> None:
    """Each plot is valid XML with a title and a label for screen readers."""
    plots = re.findall(r"<svg.*?</svg>", outcome.html, re.DOTALL)
    assert len(plots) >= 4
    for plot in plots:
        root = ET.fromstring(plot)
        assert root.attrib["role"] == "img"
        assert "table below" in root.attrib["aria-label"]
        assert root.findtext(f"{{{_SVG}}}title")


def test_the_page_says_what_has_no_network(outcome: _Outcome) -> None:
    """The page begins with the note on the figures that used no network."""
    assert outcome.html.index("touched a network") < outcome.html.index("<section")


def _load(outcome: _Outcome) -> Any:
    return report.load(outcome.folder / "report.json")


def test_the_terminal_shows_it_in_80_columns(
    outcome: _Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    """Output in a pipe fits into 80 columns and has no control characters."""
    terminal.show(_load(outcome), None)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out
    for words in ("touched a network", "of limit", "CRC-64/NVME", "peak MiB", "Not measured"):
        assert words in out


@pytest.mark.parametrize(
    ("median", "q3", "said"),
    [
        (0.97, 0.98, "97%"),
        (0.97, 1.01, "\u2248100%"),
        (1.04, 1.1, "\u2248100%"),
        (0.7, 1.2, "noisy"),
    ],
)
def test_nothing_is_said_to_be_faster_than_its_limit(median: float, q3: float, said: str) -> None:
    """If the run cannot distinguish a figure from its limit, the table shows about 100 %."""
    ratio = measure.Spread(median, median - 0.01, q3, median - 0.02, q3 + 0.1, 20)
    assert tables.of_limit_text(ratio) == said
    assert tables.of_limit_text(None) == ""


def test_the_page_has_one_chart_above_all_others(outcome: _Outcome) -> None:
    """A chart of frames and their limit is above the first section."""
    above, _, _ = outcome.html.partition("<section")
    assert above.count("<svg") == 1
    assert "Frames of 256 KiB against their limit" in above


def test_a_report_survives_json(outcome: _Outcome) -> None:
    """A report that is read back is equal to the printed report."""
    again = report.to_json(_load(outcome))
    assert again == {name: value for name, value in outcome.json.items() if name != "comparison"}


def _scaled(value: dict[str, Any], factor: float, group: str = "") -> dict[str, Any]:
    """Return a copy of a report with the figures of one group, or of all groups, multiplied.

    Each sample has many rounds.
    """
    scaled = copy.deepcopy(value)
    for sample in scaled["samples"]:
        sample["rounds"] = 20
        if group in ("", sample["group"]):
            for name in ("median", "q1", "q3", "least", "most"):
                sample[name] *= factor
    return scaled


def _compared(outcome: _Outcome, tmp_path: Path, old: dict[str, Any]) -> Any:
    reports = []
    for value in (old, _scaled(outcome.json, 1)):
        (tmp_path / "report.json").write_text(json.dumps(value))
        reports.append(report.load(tmp_path / "report.json"))
    return compare.compare(*reports)


@pytest.mark.parametrize(
    ("factor", "faster", "smaller"), [(0.1, "better", "worse"), (10, "worse", "better")]
)
def test_a_real_change_is_marked(
    outcome: _Outcome, tmp_path: Path, factor: float, faster: str, smaller: str
) -> None:
    """Whether a larger figure is better or worse depends on its unit."""
    comparison = _compared(outcome, tmp_path, _scaled(outcome.json, factor))
    assert len(comparison.beyond_noise()) == len(outcome.json["samples"])
    for change in comparison.changes:
        assert change.verdict == (faster if change.subject.unit == "GB/s" else smaller)


def _spread(q1: float, median: float, q3: float, rounds: int = 10) -> Any:
    """Return a spread whose values lie between q1 - 1 and q3 + 1."""
    return measure.Spread(median, q1, q3, q1 - 1, q3 + 1, rounds)


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        pytest.param(_spread(9, 10, 11), _spread(11.5, 12, 13), "better", id="apart and far"),
        pytest.param(_spread(9, 10, 11), _spread(7, 8, 8.5), "worse", id="apart and far below"),
        pytest.param(_spread(9, 10, 11), _spread(10.5, 12, 13), "same", id="far but overlapping"),
        pytest.param(_spread(9.9, 10, 10.1), _spread(10.2, 10.4, 10.5), "same", id="apart, near"),
        pytest.param(_spread(9, 10, 11), _spread(11.5, 12, 13, 9), "same", id="of few, some alike"),
        pytest.param(_spread(9, 10, 11), _spread(15, 15, 16, 4), "better", id="of few, all apart"),
        pytest.param(_spread(9, 10, 11), _spread(20, 20, 20, 3), "unknown", id="three rounds"),
    ],
)
def test_noise_is_not_a_change(outcome: _Outcome, old: Any, new: Any, verdict: str) -> None:
    """A change needs separate quartiles (all values for few rounds) and medians over 5 % apart."""
    subject = measure.Subject("codec", "seal", "GB/s", 2**18, 1)
    base = _load(outcome)
    reports = [
        report.Report(
            base.taken, 1.0, base.machine, base.versions, (measure.Sample(subject, spread),)
        )
        for spread in (old, new)
    ]
    comparison = compare.compare(*reports)
    assert comparison.verdict(subject) == verdict


def test_another_machine_is_a_warning(outcome: _Outcome, tmp_path: Path) -> None:
    """Another machine or another version is a warning; the figures are still compared."""
    old = copy.deepcopy(outcome.json)
    old["machine"]["cpu"] = "Another CPU"
    old["versions"]["cryptography"] = "1.0"
    warnings = " ".join(_compared(outcome, tmp_path, old).warnings)
    assert "Another CPU" in warnings
    assert "cryptography was 1.0" in warnings


def test_limits_that_changed_are_a_warning(outcome: _Outcome, tmp_path: Path) -> None:
    """If the limits changed, the warning says that s3crypt is not the reason."""
    old = _scaled(outcome.json, 2, "limits")
    assert "s3crypt has no part" in " ".join(_compared(outcome, tmp_path, old).warnings)


def test_changes_are_marked_everywhere(
    outcome: _Outcome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The terminal and the page mark changes and state the rule."""
    comparison = _compared(outcome, tmp_path, _scaled(outcome.json, 0.1, "codec"))
    terminal.show(_load(outcome), comparison)
    shown = " ".join(capsys.readouterr().out.split())
    for text in (shown, page.page(_load(outcome), comparison)):
        assert compare.RULE in text
        assert "+900%" in text
        assert "better" in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "Cannot read", id="absent"),
        pytest.param("not JSON", "not a report", id="text"),
        pytest.param("[]", "not a report", id="list"),
        pytest.param('{"schema": "x", "version": 1}', "not a report", id="other schema"),
        pytest.param('{"schema": "s3crypt-bench", "version": 2}', "version 2", id="version"),
        pytest.param('{"schema": "s3crypt-bench", "version": 1}', "not a report", id="damaged"),
    ],
)
def test_what_cannot_be_compared_is_refused_first(
    tmp_path: Path, content: str | None, said: str
) -> None:
    """A report that cannot be compared is refused with a hint before any measurement."""
    if content is not None:
        (tmp_path / "old.json").write_text(content)
    done = _run("--compare", "old.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "hint: " in done.stderr


@pytest.mark.parametrize("damage", [{"samples": 1}, {"machine": []}, {"versions": None}])
def test_damaged_reports_are_refused(
    outcome: _Outcome, tmp_path: Path, damage: dict[str, Any]
) -> None:
    """A damaged report is refused, whatever part of it is wrong."""
    (tmp_path / "old.json").write_text(json.dumps(outcome.json | damage))
    with pytest.raises(ConfigError, match="not a report"):
        report.load(tmp_path / "old.json")


def test_a_page_needs_matplotlib(tmp_path: Path) -> None:
    """A missing matplotlib is reported before any measurement, with the package to install."""
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from s3crypt_cli.main import main\n"
        "sys.argv = ['s3crypt', 'bench', '--html', 'page.html']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pip install 's3crypt[report]'" in done.stderr


@pytest.mark.parametrize("target", [".", "absent/page.html"])
def test_a_page_that_cannot_be_written_is_refused_first(tmp_path: Path, target: str) -> None:
    """A page that cannot be written is refused before any measurement."""
    done = _run("--html", target, cwd=tmp_path)
    assert (done.returncode in (2, 5), done.stdout) == (True, "")


@pytest.mark.parametrize(
    "option", [("--kms-key", "alias/x"), ("--sandbox",), ("--endpoint-url", "http://localhost:1")]
)
def test_options_of_transfers_need_them(option: tuple[str, ...]) -> None:
    """An option for transfers is refused if nothing is transferred."""
    done = _run(*option)
    assert done.returncode == 2
    assert "--s3" in done.stderr or "sandbox" in done.stderr


def test_help_loads_nothing_heavy() -> None:
    """The modules for measuring are loaded only for a measurement."""
    code = "import s3crypt_cli.main, sys; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"boto3", "botocore", "cryptography", "matplotlib", "numpy", "awscrt", "rich"}
    assert not heavy & set(done.stdout.split())


def _left(s3: Any, bucket: str) -> list[Any]:
    listed = s3.list_object_versions(Bucket=bucket)
    uploads = s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return [*listed.get("Versions", []), *listed.get("DeleteMarkers", []), *uploads]


def test_transfers_in_every_mode(versioned_bucket: str, kms_key: str, s3: Any) -> None:
    """All six modes are measured on loopback, and no version of an object is left."""
    done = _run("--json", "--s3", f"s3://{versioned_bucket}/some/place", "--kms-key", kms_key)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    transfers = [sample for sample in said["samples"] if sample["group"] == "transfers"]
    names = {"sse-s3", "sse-kms", "dsse-kms", "sse-c", "client, header", "client, metadata"}
    for what in ("put", "get"):
        for size in (2**10, 2**20):
            measured = {s["mode"] for s in transfers if (s["what"], s["size"]) == (what, size)}
            assert measured == names
    assert said["endpoint"]["kind"] == "loopback"
    assert "not AWS" in said["remarks"][0]
    assert not _left(s3, versioned_bucket)


def test_refused_modes_are_named(blocked_bucket: str, s3: Any) -> None:
    """A refused mode is named with the reason, and the other modes are measured."""
    done = _run("--json", "--s3", f"s3://{blocked_bucket}")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    reasons = {entry["what"]: entry["reason"] for entry in said["missing"]}
    assert "--kms-key" in reasons["sse-kms"]
    assert "--kms-key" in reasons["dsse-kms"]
    assert reasons["sse-c"]
    measured = {sample["mode"] for sample in said["samples"] if sample["group"] == "transfers"}
    assert measured == {"sse-s3", "client, header", "client, metadata"}
    assert not _left(s3, blocked_bucket)


@pytest.mark.parametrize(("uri", "code"), [("acme", 2), ("s3://", 2), ("s3://absent-bucket", 5)])
def test_no_bucket_no_minute(uri: str, code: int) -> None:
    """If no mode works, the command fails without measuring."""
    done = _run("--s3", uri, "--quiet")
    assert (done.returncode, done.stdout) == (code, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(
    versioned_bucket: str, sandbox: Running, s3: Any, tmp_path: Path, number: signal.Signals
) -> None:
    """After an interrupt no file is left, and no version of an object whose put had no reply."""
    stored, interrupted = threading.Event(), threading.Event()

    def withhold(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if asked.method == "PUT":
            stored.set()
            interrupted.wait(60)
        return answer

    with (
        relaying(sandbox.endpoint_url, withhold) as relay,
        subprocess.Popen(
            [*_HEEDING, "--quiet", "--s3", f"s3://{versioned_bucket}/x"],
            env=os.environ | {"TMPDIR": str(tmp_path), "AWS_ENDPOINT_URL_S3": relay.url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        try:
            assert stored.wait(60)
            assert _left(s3, versioned_bucket)
            process.send_signal(number)
        finally:
            interrupted.set()
        _, said = process.communicate(timeout=600)
    assert (process.returncode, said.strip()) == (130, b"s3crypt: interrupted")
    assert not _left(s3, versioned_bucket)
    assert not list(tmp_path.iterdir())


class _Clock:
    """A clock that advances only while a heat, a group of compared measurements, runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def heat(self, name: str, seconds: float, weight: int) -> Any:
        """Return a heat that takes this many seconds."""

        def run(_turn: int) -> None:
            self.now += seconds
            self.log.append(name)

        return measure.Heat(run, weight)


def test_rounds_alternate_until_the_time_is_over() -> None:
    """Every heat runs once per round, and a round that does not fit is not begun."""
    clock = _Clock()
    heats = [clock.heat("a", 1, 0), clock.heat("b", 1, 0)]
    assert measure.take_rounds(heats, seconds=9, clock=lambda: clock.now) == 2
    assert "".join(clock.log) == "abababab"


def test_too_little_time_still_has_three_rounds() -> None:
    """With too little time the two lightest heats still run three rounds."""
    clock = _Clock()
    heats = [clock.heat("a", 1, 1), clock.heat("b", 2, 2), clock.heat("c", 3, 3)]
    assert measure.take_rounds(heats, seconds=0.1, clock=lambda: clock.now) == 2
    assert "".join(clock.log) == "ababab"


def test_what_is_too_heavy_is_not_begun() -> None:
    """A heat that would not fit into the time is not begun.

    Its time is predicted from a fixed cost and a cost per weight.
    """
    clock = _Clock()
    heats = [clock.heat(name, 1 + 2**n, 2**n) for n, name in enumerate("abcd")]
    # Three rounds of a, b and c take 3 * (2 + 3 + 5) = 30; with d they take 57, 9 more per round.
    assert measure.take_rounds(heats, seconds=56, clock=lambda: clock.now) == 3
    assert "d" not in clock.log


def test_one_value_is_its_own_quartiles() -> None:
    """Half of the values lie between the quartiles; a single value is its own quartiles."""
    assert measure.Spread.of([3.0]).q1 == 3.0
    spread = measure.Spread.of([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (spread.q1, spread.median, spread.q3, spread.rounds) == (2.0, 3.0, 4.0, 5)
