# The C codec as Python sees it; `atp_trio.spice.codec` is its face.

from typing import Any

ffi: Any
lib: Any
