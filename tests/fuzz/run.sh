#!/bin/sh
# The C under AddressSanitizer and UndefinedBehaviorSanitizer: the kept corpus, every vector with random changes, drawing
# messages with random changes, the codec's tests on a build with sanitizers, and libFuzzer for SECONDS_TO_FUZZ (default 0: not
# at all), which needs clang. What libFuzzer finds, new inputs and crashes, stays in FOUND (default build/fuzz).
# MERGE=1 makes the corpus anew instead: the smallest inputs of those kept, found and seeded that reach all that they reach.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
found=${FOUND:-$root/build/fuzz}
corpus=$root/tests/fuzz/corpus
vectors=$root/tests/data/vectors
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
c=$root/src/_spice_codec
flags="-g -O1 -std=c11 -fno-strict-aliasing -I$c"
codec="$root/tests/fuzz/codec_fuzz.c $(echo "$c"/*.c)"
drawing="$root/tests/fuzz/draw_fuzz.c $(echo "$c"/*.c)"

build() { # NAME SOURCE...: a program of its own, without libFuzzer
    name=$1; shift
    # shellcheck disable=SC2086 # lists of words
    gcc $flags -fsanitize=address,undefined -fno-sanitize-recover=all "$@" -o "$work/$name"
}

build_fuzzer() { # NAME SOURCE...
    name=$1; shift
    # shellcheck disable=SC2086
    clang $flags -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -DLIBFUZZER "$@" -o "$work/$name.fuzzer"
}

fuzz() { # NAME MAX_BYTES SEEDS...: inputs are larger than that only in the seeds, of which that much is taken
    name=$1 size=$2; shift 2
    mkdir -p "$found/$name"
    "$work/$name.fuzzer" -max_total_time="$((SECONDS_TO_FUZZ / 2))" -max_len="$size" -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="$found/$name-" "$found/$name" "$corpus/$name" "$@"
}

merge() { # NAME MAX_BYTES SEEDS...
    name=$1 size=$2; shift 2
    mkdir -p "$work/corpus/$name" "$found/$name"
    "$work/$name.fuzzer" -set_cover_merge=1 -max_len="$size" -verbosity=0 "$work/corpus/$name" "$corpus/$name" "$found/$name" "$@"
    rm -rf "${corpus:?}/$name"
    mv "$work/corpus/$name" "$corpus/$name"
}

# shellcheck disable=SC2086
build codec $codec
# shellcheck disable=SC2086
build draw $drawing

echo "== the corpus"
find "$corpus/codec" -type f -print0 | xargs -0 "$work/codec" 0
find "$corpus/draw" -type f -print0 | xargs -0 "$work/draw" 0

if [ "${SECONDS_TO_FUZZ:-0}" -gt 0 ] || [ "${MERGE:-0}" = 1 ]; then
    # shellcheck disable=SC2086
    build_fuzzer codec $codec
    # shellcheck disable=SC2086
    build_fuzzer draw $drawing
    mkdir "$work/seeds"
    "$work/draw" 300 "$work/seeds" >"$work/log"
fi
if [ "${MERGE:-0}" = 1 ]; then
    merge codec 2048 "$vectors/quic" "$vectors/lz" "$vectors/glz" "$vectors/malformed"
    merge draw 1024 "$work/seeds"
    du -sh "$corpus"/*
    exit
fi

echo "== every vector with random changes"
find "$vectors/quic" "$vectors/lz" "$vectors/glz" "$vectors/malformed" -name '*.bin' -print0 |
    xargs -0 "$work/codec" "${ROUNDS:-3}"

echo "== drawing messages with random changes"
"$work/draw" "${DRAW_ROUNDS:-20000}"

echo "== the codec's tests on the build with sanitizers"
mkdir "$work/build"
cp -r "$root/build_codec.py" "$root/src" "$work/build"
find "$work/build" -name '*.so' -delete
(cd "$work/build" && ATP_SANITIZE=1 "$python" build_codec.py >"$work/log" 2>&1) || { cat "$work/log" >&2; exit 1; }
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
export LD_PRELOAD ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
PYTHONPATH="$work/build:$root/src" "$python" -c "
import _spice_codec
assert _spice_codec.__file__.startswith('$work'), _spice_codec.__file__"
(cd "$root" && PYTHONPATH="$work/build:$root/src" "$python" -m pytest -q -p no:cacheprovider \
    tests/unit/spice/codec tests/property/test_framing.py tests/property/test_fast_path.py tests/property/test_glz_window.py)
unset LD_PRELOAD ASAN_OPTIONS UBSAN_OPTIONS

if [ "${SECONDS_TO_FUZZ:-0}" -gt 0 ]; then
    echo "== libFuzzer for $SECONDS_TO_FUZZ s; what it finds stays in $found"
    fuzz draw 4096 "$work/seeds"
    fuzz codec 65536 "$vectors/quic" "$vectors/lz" "$vectors/glz" "$vectors/malformed"
    echo "== new inputs in $found: $(find "$found/draw" "$found/codec" -type f | wc -l); MERGE=1 takes them into the corpus"
fi
echo "== clean"
