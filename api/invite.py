"""The QR code of an invite: a pure function of it, so that a repeated answer is the same, byte for byte.

zxing-cpp makes the matrix (about 1 ms for 350 characters), zlib the picture (facts/speed.md).
"""

import base64
import struct
import zlib
from functools import lru_cache
from typing import Any

import zxingcpp

QUIET = 4  # White modules on each side, as the standard wants.
SCALE = 8  # Pixels of a module: one byte of a 1-bit row, so a row of modules is a row of pixels.
_FASTEST = 1  # A fifth of the usual level's time, and about 1.5 kB for an invite of 200 characters.
_GREY_1_BIT = (1, 0, 0, 0, 0)  # Depth, colour type, compression, filter, interlace.


@lru_cache(maxsize=256)
def qr_data_url(invite: str) -> str:
    """`data:image/png;base64,...`, level M. Raises ValueError where it does not fit (2,331 bytes)."""
    code = zxingcpp.create_barcode(invite, zxingcpp.BarcodeFormat.QRCode, ec_level="M")
    matrix: Any = code.to_image(
        scale=1, add_quiet_zones=False
    )  # A buffer; its stubs do not say so.
    side, data = matrix.shape[0], memoryview(matrix).tobytes()
    rows = [data[at : at + side] for at in range(0, side * side, side)]
    return "data:image/png;base64," + base64.b64encode(_png(rows)).decode()


def _png(rows: list[bytes]) -> bytes:
    """A picture of square modules, each a byte of 0 (dark) or 255."""
    side = (len(rows) + 2 * QUIET) * SCALE
    edge = b"\xff" * QUIET
    white = b"\0" + b"\xff" * (side // 8)  # Each row begins with its filter: none.
    lines = [white * (QUIET * SCALE)]
    lines += [(b"\0" + edge + row + edge) * SCALE for row in rows]
    lines += [white * (QUIET * SCALE)]
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">II5B", side, side, *_GREY_1_BIT)),
            _chunk(b"IDAT", zlib.compress(b"".join(lines), _FASTEST)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
