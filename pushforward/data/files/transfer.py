"""What comes after the head of an HTTP answer: a file as it is, in chunks, or packed on the way, each strictly read."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator
from email.message import Message

__all__ = ["BLOCK", "Refusal", "open_body"]

BLOCK = 2**20  # bytes handed on together, at most
LINE = 2**10  # bytes by which a chunk is announced, at most


class Refusal(Exception):
    """What is wrong with an answer, in words that follow the URL."""


def open_body(
    headers: Message, stream: io.BufferedReader, has_more: Callable[[], bool], path: str
) -> tuple[int | None, Iterator[bytes]]:
    """Read the announced size of the file at ``path`` of a server, None where that is unknown, and its blocks.

    ``has_more`` tells whether bytes come after what should have been the last one. Refusal, at any block too, for
    anything but a whole file.
    """
    transfer = ", ".join(headers.get_all("Transfer-Encoding", [])).strip().lower()
    lengths = {length.strip() for length in headers.get_all("Content-Length", [])}
    if transfer not in ("", "chunked", "identity"):
        raise Refusal(f"the server sends it as {transfer[:40]!r}, which is not read")
    if len(lengths) > 1 or not all(re.fullmatch("[0-9]{1,18}", length) for length in lengths):
        raise Refusal("the server announces no usable length; fetch the file yourself and give its path")
    size = None if transfer == "chunked" or not lengths else int(lengths.pop())
    blocks = _chunks(stream) if transfer == "chunked" else _plain(stream, size, has_more)
    if headers.get_content_type() == "text/html":
        blocks = _without_page(blocks)

    # a file that is packed by itself may be announced as packed on the way; it is as it should be
    packed = ", ".join(headers.get_all("Content-Encoding", [])).strip().lower()
    if packed in ("", "identity") or path.lower().endswith((".gz", ".tgz")):
        return size, blocks
    if packed in ("gzip", "x-gzip"):
        return None, _unpacked(blocks)
    raise Refusal(f"the server packs it as {packed[:40]!r}, unasked; fetch the file yourself and give its path")


def _plain(stream: io.BufferedReader, size: int | None, has_more: Callable[[], bool]) -> Iterator[bytes]:
    """Blocks of a body of the size that was announced, or to the end of the connection."""
    left = BLOCK if size is None else size
    while left and (block := stream.read1(min(BLOCK, left))):
        left -= 0 if size is None else len(block)
        yield block
    if size is None:
        return
    if left:
        raise Refusal(f"cut short: {size - left:,} of {size:,} bytes came; try again")
    if has_more():
        raise Refusal(f"the server sends more than the {size:,} bytes that it announces; fetch the file yourself")


def _chunks(stream: io.BufferedReader) -> Iterator[bytes]:
    """Blocks of a body in chunks, each behind its length; what follows the last one is not read."""
    came = 0
    while True:
        line = stream.readline(LINE)
        if not (match := re.fullmatch(rb"([0-9a-fA-F]{1,15})[ \t]*(;[^\r\n]*)?\r?\n", line)):
            state = "garbled" if line.endswith(b"\n") else "cut short"
            raise Refusal(f"{state} after {came:,} bytes; try again")
        left = int(match[1], 16)
        if not left:
            return
        while left:
            if not (block := stream.read1(min(BLOCK, left))):
                raise Refusal(f"cut short after {came:,} bytes; try again")
            left, came = left - len(block), came + len(block)
            yield block
        if stream.readline(2) not in (b"\r\n", b"\n"):
            raise Refusal(f"garbled after {came:,} bytes; try again")


def _without_page(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same blocks; Refusal for a page, of a login say, which could pass for a table of one column."""
    for i, block in enumerate(blocks):
        if not i and block.lstrip().lower().startswith((b"<!doctype html", b"<html")):
            raise Refusal("the server sends a web page; give the address of the file itself")
        yield block


def _unpacked(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Blocks unpacked from gzip, none larger than ``BLOCK`` however tightly they were packed."""
    unpack = zlib.decompressobj(wbits=31)
    for block in blocks:
        part = b""
        while block or len(part) == BLOCK:  # a full one may leave more behind
            if unpack.eof and block:  # another member follows
                unpack = zlib.decompressobj(wbits=31)
            part = unpack.decompress(block, BLOCK)
            block = unpack.unused_data if unpack.eof else unpack.unconsumed_tail
            yield part
    if not unpack.eof:
        raise Refusal("cut short: what was packed does not end; try again")
