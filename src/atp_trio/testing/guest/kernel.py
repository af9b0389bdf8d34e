"""The ELF kernel out of a bzImage.

A bzImage unpacks itself, which takes 6 to 8 seconds under emulation. Unpacked here, and started through PVH, the
kernel is in user space within 3 seconds.

Source: the Linux/x86 boot protocol (Documentation/arch/x86/boot.rst of Linux), "The Real-Mode Kernel Header".
"""

from __future__ import annotations

import lzma
import struct
import zlib

from atp_trio.testing.guest.packages import GuestUnavailable

_SETUP_SECTS = 0x1F1  # size of the setup code, in sectors of 512 bytes after the first; 0 means 4
_MAGIC = 0x202  # "HdrS", followed by the protocol's version
_PAYLOAD = 0x248  # offset after the setup code, and length, of the compressed kernel; since version 2.08


def extract_vmlinux(image: bytes) -> bytes:
    """Take the ELF kernel out of a bzImage.

    Args:
        image: The whole file, as in /boot/vmlinuz-*.

    Raises:
        GuestUnavailable: It is no bzImage, it is cut short, or its compression is neither XZ nor gzip.
    """
    if len(image) < _PAYLOAD + 8 or image[_MAGIC : _MAGIC + 4] != b"HdrS":
        raise GuestUnavailable("the kernel image is no bzImage: the guest needs a kernel for x86")
    (version,) = struct.unpack_from("<H", image, _MAGIC + 4)
    if version < 0x208:
        raise GuestUnavailable(f"the kernel image has boot protocol {version:#x}, which does not say where the kernel lies")
    offset, length = struct.unpack_from("<II", image, _PAYLOAD)
    start = ((image[_SETUP_SECTS] or 4) + 1) * 512 + offset
    kernel = _decompress(image[start : start + length])
    if not kernel.startswith(b"\x7fELF"):
        raise GuestUnavailable("the kernel image holds no ELF kernel")
    return kernel


def _decompress(payload: bytes) -> bytes:
    decompressor: lzma.LZMADecompressor | zlib._Decompress
    if payload.startswith(b"\xfd7zXZ\0"):
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    elif payload.startswith(b"\x1f\x8b"):
        decompressor = zlib.decompressobj(wbits=31)
    else:
        raise GuestUnavailable(f"the kernel image is compressed in an unknown way (it starts with {payload[:4].hex(' ')})")
    try:
        kernel = decompressor.decompress(payload)
    except (lzma.LZMAError, zlib.error) as error:
        raise GuestUnavailable(f"the kernel image is damaged: {error}") from error
    # What follows the stream is the unpacked size, which all but gzip append.
    if not decompressor.eof:
        raise GuestUnavailable("the kernel image is cut short")
    return kernel
