"""Reading `text/event-stream`, as far as our own server and proxies in front of it write it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def read_events(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the data of each event as soon as it is complete; comments and ids are skipped.

    Only CR LF, LF and CR end a line here: U+2028 and the like are part of the text.
    """
    fields: list[bytes] = []
    for line in _lines(chunks):
        if line.startswith(b"data:"):
            fields.append(line[5:].removeprefix(b" "))
        elif not line and fields:
            yield b"\n".join(fields).decode(errors="replace")
            fields.clear()


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        rest += chunk
        # It may be the first half of a CR LF; which, the next chunk tells.
        held = b"\r" if rest.endswith(b"\r") else b""
        text = rest.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = text.split(b"\n")
        rest += held
        yield from lines
