from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .pictures import VECTORS

RUNNER = Path(__file__).parents[3] / "run_vectors.py"
sys.path.insert(0, str(RUNNER.parent))
import run_vectors  # noqa: E402 - it is a script beside the tests

ENTRIES = run_vectors.load_index(VECTORS)


@pytest.mark.parametrize("codec", sorted({entry["codec"] for entry in ENTRIES}))
def test_the_vectors_come_out_as_expected(codec):
    of_codec = [entry for entry in ENTRIES if entry["codec"] == codec]
    assert len(of_codec) >= 2
    for entry in of_codec:
        run_vectors.run_entry(entry, VECTORS)


def run(*arguments):
    return subprocess.run([sys.executable, RUNNER, *arguments], check=False, capture_output=True, text=True)


def copy_vector(folder, **changes):
    entry = next(entry for entry in ENTRIES if entry["file"] == "quic/rgb32_text_17x13.bin") | changes
    (folder / "index.json").write_text(json.dumps({"vectors": [entry]}))
    for name in (entry["file"], entry["raw"]):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((VECTORS / name).read_bytes())
    return entry


def test_the_runner_counts_what_passed(tmp_path):
    entry = copy_vector(tmp_path)
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{entry['codec']}: 1 passed, 0 failed\n"), done.stderr


@pytest.mark.parametrize(
    ("changes", "sentence"), [({"width": 13, "height": 17}, "another size"), ({"sha256": "00"}, "not those of the index")]
)
def test_the_runner_fails_when_a_vector_does(tmp_path, changes, sentence):
    entry = copy_vector(tmp_path, **changes)
    done = run(tmp_path)
    assert done.returncode == 1
    assert sentence in done.stdout
    assert f"{entry['codec']}: 0 passed, 1 failed" in done.stdout


def test_the_runner_fails_when_a_malformed_stream_decodes(tmp_path):
    entry = copy_vector(tmp_path, codec="malformed", target_codec="quic")
    assert entry["file"].startswith("quic")
    done = run(tmp_path)
    assert done.returncode == 1
    assert "it decoded, and is malformed" in done.stdout


def test_the_runner_fails_where_there_is_nothing(tmp_path):
    assert run(tmp_path).returncode == 1


def test_the_runner_measures(tmp_path):
    entry = copy_vector(tmp_path)
    done = run("--perf", tmp_path)
    line = json.loads(done.stdout)
    assert (line["file"], line["codec"]) == (entry["file"], entry["codec"])
    assert line["ms"] > 0
    assert line["ratio_copy"] > 0
    assert line["ratio_jpeg"] > 0
