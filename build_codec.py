"""Build the C codec, `_spice_codec`, out of the C in `src/_spice_codec/`.

Every `*.c` there is compiled and every `*.h` whose name does not end in `_internal.h` is a declaration file that both the
compiler and cffi read: it holds plain declarations only (no preprocessor but the include guard that cffi is shown stripped).
`ATP_SANITIZE=1` builds with AddressSanitizer and UndefinedBehaviorSanitizer.
"""

import os
from pathlib import Path

from cffi import FFI

SOURCES = Path("src/_spice_codec")


def declarations(header: Path) -> str:
    """The header's text without preprocessor lines, which cffi does not read."""
    return "\n".join(line for line in header.read_text(encoding="ascii").splitlines() if not line.startswith("#"))


def make_ffi() -> FFI:
    """The extension's definition: API mode, limited API."""
    headers = sorted(path for path in SOURCES.glob("*.h") if not path.name.endswith("_internal.h"))
    flags = ["-std=c11", "-O3", "-Wall", "-Wextra", "-Wconversion", "-Wno-sign-conversion", "-fno-strict-aliasing"]
    link: list[str] = []
    if os.environ.get("ATP_SANITIZE"):
        flags += ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
        link += ["-fsanitize=address,undefined"]
    ffi = FFI()
    for header in headers:
        ffi.cdef(declarations(header))
    ffi.set_source(
        "_spice_codec",
        "\n".join(f'#include "{header.name}"' for header in headers),
        sources=[str(path) for path in sorted(SOURCES.glob("*.c"))],
        include_dirs=[str(SOURCES)],
        depends=[str(path) for path in sorted(SOURCES.glob("*.h"))],
        extra_compile_args=flags,
        extra_link_args=link,
        py_limited_api=True,
    )
    return ffi


ffi = make_ffi()

if __name__ == "__main__":
    ffi.compile(verbose=True)
