"""Every drawing operation, bit for bit, against what the reference implementation drew."""

import importlib
import sys
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[3]
FOLDER = TESTS / "data" / "vectors" / "canvas"

sys.path.append(str(TESTS))  # the cases are shared with tests/run_vectors.py
canvas = importlib.import_module("canvas_cases")
CASES = canvas.load_cases(FOLDER)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['group']}-{case['id']}")
def test_case(case):
    canvas.run_case(case, FOLDER)


def test_all_operations_are_there():
    counts = Counter(case["op"] for case in CASES)
    assert sum(counts.values()) == 279
    assert set(counts) == {
        "alpha_blend", "blackness", "composite", "copy", "copy_bits", "fill", "invers", "opaque", "rop3", "stroke", "text",
        "transparent", "whiteness",
    }  # fmt: skip


def test_a_difference_is_seen():
    # The comparison itself: with another expected picture the case must fail.
    case = next(case for case in CASES if case["op"] == "whiteness")
    with pytest.raises(AssertionError, match="pixels differ"):
        canvas.run_case({**case, "op": "blackness"}, FOLDER)
