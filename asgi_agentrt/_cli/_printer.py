"""Messages on a terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TextIO, cast

# What an agent says may steer no terminal: no control characters but new lines and tabs.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Printer:
    """Writes texts to `out` as they come, and remarks about the rest to `notes`."""

    def __init__(self, out: TextIO, notes: TextIO) -> None:
        self._out = out
        self._notes = notes
        self._message_id: object = None
        self._is_in_line = False
        self._tool_calls: set[object] = set()

    def show(self, message: Mapping[str, Any]) -> None:
        """Write one message; pieces of one message go on the same line."""
        metadata = _metadata(message)
        is_piece = bool(metadata.get("chunk"))
        message_id = message.get("id")
        if not is_piece or message_id != self._message_id:
            self.end_line()
        self._message_id = message_id
        self._write(self._text(message.get("content")))
        if not is_piece:
            self.end_line()
        if "confirm" in metadata:
            self.note("the agent asks for consent to a tool call; this command cannot give it")

    def end_line(self) -> None:
        """Begin a new line, unless this one is empty."""
        if self._is_in_line:
            self._write("\n")

    def note(self, text: str) -> None:
        """Write a remark, on a line of its own."""
        self.end_line()
        print(_CONTROL.sub("", text), file=self._notes, flush=True)

    def _write(self, text: str) -> None:
        text = _CONTROL.sub("", text)
        if text:
            # First of all: Ctrl-C may come at any of these lines.
            self._is_in_line = not text.endswith("\n")
            self._out.write(text)
            self._out.flush()

    def _text(self, content: object) -> str:
        if isinstance(content, str):
            return content
        if not isinstance(content, list):
            return ""
        blocks = cast(list[object], content)
        return "".join(
            self._block(cast(dict[str, object], block))
            for block in blocks
            if isinstance(block, dict)
        )

    def _block(self, block: dict[str, object]) -> str:
        if block.get("type") == "text":
            text = block.get("text")
            return text if isinstance(text, str) else ""
        if block.get("type") == "tool_call" and block.get("id") not in self._tool_calls:
            self._tool_calls.add(block.get("id"))
            self.note(f"[calls {block.get('name')}]")
        return ""


def _metadata(message: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = message.get("metadata")
    return cast(dict[str, Any], metadata) if isinstance(metadata, dict) else {}
