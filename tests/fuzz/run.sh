#!/bin/sh
# The C under AddressSanitizer and UndefinedBehaviorSanitizer: the codec's tests on a build with sanitizers, every vector with
# random changes, and libFuzzer for SECONDS_TO_FUZZ (default 0: not at all), which needs clang.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sources=$(ls "$root"/src/_spice_codec/quic_*.c "$root"/src/_spice_codec/lz_*.c "$root"/src/_spice_codec/glz_*.c)
flags="-g -O1 -std=c11 -fno-strict-aliasing -I$root/src/_spice_codec"

mkdir "$work/build"
cp -r "$root/build_codec.py" "$root/src" "$work/build"
find "$work/build" -name '*.so' -delete
(cd "$work/build" && ATP_SANITIZE=1 "$python" build_codec.py >"$work/log" 2>&1) || { cat "$work/log" >&2; exit 1; }

echo "== the codec's tests on the build with sanitizers"
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
export LD_PRELOAD ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
PYTHONPATH="$work/build:$root/src" "$python" -c "
import _spice_codec
assert _spice_codec.__file__.startswith('$work'), _spice_codec.__file__"
(cd "$root" && PYTHONPATH="$work/build:$root/src" "$python" -m pytest -q -p no:cacheprovider \
    tests/unit/spice/codec tests/property/test_framing.py tests/property/test_fast_path.py)
unset LD_PRELOAD

echo "== every vector with random changes"
# shellcheck disable=SC2086 # lists of words
gcc $flags -fsanitize=address,undefined -fno-sanitize-recover=all "$root/tests/fuzz/codec_fuzz.c" $sources -o "$work/mutate"
find "$root/tests/data/vectors/quic" "$root/tests/data/vectors/lz" "$root/tests/data/vectors/glz" \
    "$root/tests/data/vectors/malformed" -name '*.bin' -print0 | xargs -0 "$work/mutate" "${ROUNDS:-3}"

echo "== drawing messages with random changes"
drawing=""
for name in draw framing quic_decode quic_tables lz_decode; do drawing="$drawing $root/src/_spice_codec/$name.c"; done
# shellcheck disable=SC2086
gcc $flags -fsanitize=address,undefined -fno-sanitize-recover=all "$root/tests/fuzz/draw_fuzz.c" $drawing -o "$work/draw"
"$work/draw" "${DRAW_ROUNDS:-20000}"

if [ "${SECONDS_TO_FUZZ:-0}" -gt 0 ]; then
    echo "== libFuzzer for $SECONDS_TO_FUZZ s"
    # shellcheck disable=SC2086
    clang $flags -fsanitize=fuzzer,address,undefined -DLIBFUZZER "$root/tests/fuzz/codec_fuzz.c" $sources -o "$work/fuzz"
    # shellcheck disable=SC2086
    clang $flags -fsanitize=fuzzer,address,undefined -DLIBFUZZER "$root/tests/fuzz/draw_fuzz.c" $drawing -o "$work/fuzz_draw"
    mkdir "$work/corpus"
    "$work/fuzz_draw" -max_total_time="$((SECONDS_TO_FUZZ / 2))" -print_final_stats=1 -verbosity=0
    "$work/fuzz" -max_total_time="$((SECONDS_TO_FUZZ / 2))" -print_final_stats=1 -verbosity=0 "$work/corpus" \
        "$root/tests/data/vectors/quic" "$root/tests/data/vectors/lz" "$root/tests/data/vectors/glz" "$root/tests/data/vectors/malformed"
fi
echo "== clean"
