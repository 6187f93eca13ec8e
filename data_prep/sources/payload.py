"""The body of an HTTP response as it came over the wire to the bytes it stands for, at most `limit` of them."""

import zlib

import pyarrow

_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS


def decoded_body(data: bytes, transfer: str, encoding: str, limit: int) -> bytes:
    """`data` without its chunks and compression; ValueError when it is damaged or the encoding is unknown.

    `transfer` and `encoding` are the headers Transfer-Encoding and Content-Encoding. A longer body is cut after
    `limit` bytes, so that memory is bounded whatever it expands to.
    """
    if transfer.strip().lower() == "chunked":
        data = _unchunked(data)
    for name in reversed([part.strip().lower() for part in encoding.split(",")]):
        data = _decompressed(data, name, limit)
    return data


def _unchunked(data: bytes) -> bytes:
    parts, at = list[bytes](), 0
    while True:
        end = data.find(b"\r\n", at)
        size = int(data[at:end].partition(b";")[0] or b"-", 16) if end >= 0 else -1
        if size < 0 or end + 2 + size > len(data):
            raise ValueError("broken chunks")
        if size == 0:
            return b"".join(parts)
        parts.append(data[end + 2 : end + 2 + size])
        at = end + 2 + size + 2


def _decompressed(data: bytes, name: str, limit: int) -> bytes:
    if name in ("", "identity"):
        return data
    try:
        if name in ("gzip", "x-gzip", "deflate"):
            return _inflated(data, limit)
        if name in ("br", "zstd"):
            kind = "brotli" if name == "br" else name
            return pyarrow.CompressedInputStream(pyarrow.BufferReader(data), kind).read(limit)
    except (zlib.error, OSError) as error:
        raise ValueError(f"broken {name}: {error}") from error
    raise ValueError(f"unknown encoding {name[:40]!r}")


def _inflated(data: bytes, limit: int) -> bytes:
    inflate = zlib.decompressobj(_ZLIB_OR_GZIP)
    content = inflate.decompress(data, limit)
    if not inflate.eof and len(content) < limit:
        raise ValueError("compressed content is cut short")
    return content
