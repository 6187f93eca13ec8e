"""The bytes around the data: USTAR headers, padding and trailer, npy headers. All of it is a pure function.

Invariant: everything in a shard's tar that is not a member's data follows from the members' names and lengths. So the
writer repeats byte for byte on any machine and Python version, and the reader verifies headers, padding and trailer by
computing them again: with the members' digests not one bit of a tar is unchecked.

Sources: POSIX.1-1988 (USTAR); NumPy enhancement proposal 1 (npy format 1.0). Only little-endian arrays of plain
numbers exist here, [n] or [n, width], so no header is ever evaluated and nothing can be unpickled.
"""

import math
import re

import numpy as np

BLOCK = 512
_RECORD = 20 * BLOCK  # tar's own unit of writing; readers expect whole records
MAX_MEMBER_BYTES = 8**11 - 1  # eleven octal digits

_NPY_ALIGNMENT = 64
_NPY_PREFIX = b"\x93NUMPY\x01\x00"
_NPY_HEADER = re.compile(
    rb"\{'descr': '([<|][buif][1248])', 'fortran_order': False, 'shape': \((\d{1,12}),(?: ([1-9]))?\), \} *\n"
)
_DTYPES = ("|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<i8", "<f4")


def tar_header(name: str, length: int) -> bytes:
    """The 512 bytes before a member: mode 0644, owner 0, mtime 0, a regular file of `length` bytes."""
    encoded = name.encode("ascii")
    if not 0 < len(encoded) <= 100 or not 0 <= length <= MAX_MEMBER_BYTES:
        raise ValueError(f"tar member {name!r} of {length} bytes does not fit USTAR (100 characters, 8 GiB)")
    before = encoded.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % length + b"%011o\0" % 0
    after = b"0" + bytes(100) + b"ustar\x0000"
    checksum = sum(before) + 8 * ord(" ") + sum(after)
    return (before + b"%06o\0 " % checksum + after).ljust(BLOCK, b"\0")


def padding_length(length: int) -> int:
    """Zero bytes after a member of `length` bytes."""
    return -length % BLOCK


def trailer_length(end: int) -> int:
    """Zero bytes after the last member, whose padding ends at `end`: two blocks, then up to a whole record."""
    return 2 * BLOCK + -(end + 2 * BLOCK) % _RECORD


def npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """The npy 1.0 header of an array [n] or [n, width], padded so that its data is aligned to 64 bytes."""
    if len(shape) not in (1, 2) or (len(shape) == 2 and not 1 <= shape[1] <= 9):
        raise ValueError(f"arrays in shards are [n] or [n, 1 to 9], not of shape {shape}")
    descr = np.dtype(dtype).newbyteorder("<").str
    if descr not in _DTYPES:
        raise ValueError(f"arrays of {dtype} are not stored in shards (one of {', '.join(_DTYPES)})")
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode("ascii")
    text = text + b" " * (-(len(_NPY_PREFIX) + 2 + len(text) + 1) % _NPY_ALIGNMENT) + b"\n"
    return _NPY_PREFIX + len(text).to_bytes(2, "little") + text


def npy_parts(array: np.ndarray) -> tuple[bytes, memoryview]:
    """Header and data of an array as an npy file holds them (no copy on little-endian machines)."""
    data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return npy_header(data.dtype, array.shape), data.reshape(-1).view(np.uint8).data


def npy_array(data: memoryview) -> np.ndarray:
    """The array of an npy file, sharing the memory of `data`; ValueError unless `npy_parts` would write the same."""
    length = len(_NPY_PREFIX) + 2
    length += int.from_bytes(data[length - 2 : length], "little")
    match = _NPY_HEADER.fullmatch(bytes(data[len(_NPY_PREFIX) + 2 : length]))
    if match is None:
        raise ValueError("not an npy file of this format ([n] or [n, width], little-endian, plain numbers)")
    dtype, count = np.dtype(match[1].decode()), int(match[2])
    shape = (count, int(match[3])) if match[3] else (count,)
    if data[:length] != npy_header(dtype, shape) or len(data) != length + math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an npy file whose header does not match its {len(data)} bytes")
    return np.frombuffer(data, dtype=dtype, count=math.prod(shape), offset=length).reshape(shape)
