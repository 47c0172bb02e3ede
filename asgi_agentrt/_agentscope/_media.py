"""Media blocks: the vocabularies of AgentScope 1.x (`image`, `audio`, `video`) and 2.x (`data`)."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..exceptions import InvalidRequestError

# For a URL that tells nothing: AgentScope compares these with what a model supports.
_USUAL = {"image": "image/jpeg", "audio": "audio/wav", "video": "video/mp4"}
MEDIA_KINDS = tuple(_USUAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A picture, a sound, a film or a file; `url` or `data` (base64) is set, never both."""

    media_type: str
    url: str | None = None
    data: str | None = None
    name: str | None = None

    @property
    def kind(self) -> str:
        """What stands before the slash of the media type."""
        return self.media_type.partition("/")[0]

    def to_wire(self) -> dict[str, Any]:
        """Return the `data` block."""
        source = (
            {"type": "url", "url": self.url, "media_type": self.media_type}
            if self.url is not None
            else {"type": "base64", "media_type": self.media_type, "data": self.data}
        )
        block: dict[str, Any] = {"type": "data", "source": source}
        if self.name is not None:
            block["name"] = self.name
        return block


def read_media(block: Mapping[str, Any], place: str) -> Media:
    """Read a media block of either vocabulary.

    Raises:
        InvalidRequestError: it is none; the text starts with `place`.
    """
    kind, source = block.get("type"), block.get("source")
    if not (kind == "data" or kind in MEDIA_KINDS):
        raise InvalidRequestError(f"{place}.type must be text, data, image, audio or video")
    if not isinstance(source, Mapping):
        raise InvalidRequestError(f"{place}.source must be an object")
    media_type, name = source.get("media_type"), block.get("name")
    for key, value in ((".source.media_type", media_type), (".name", name)):
        if not (value is None or isinstance(value, str)):
            raise InvalidRequestError(f"{place}{key} must be a string")
    kind_asked = kind if kind in MEDIA_KINDS else None
    match source:
        case {"type": "url", "url": str(url)}:
            media_type = media_type or media_type_of(url, kind_asked)
            return Media(media_type=media_type, url=url, name=name)
        case {"type": "base64", "data": str(data)}:
            if media_type is None:
                raise InvalidRequestError(f"{place}.source.media_type is required")
            return Media(media_type=media_type, data=data, name=name)
        case _:
            raise InvalidRequestError(
                f"{place}.source must be of type url with a url, or base64 with data"
            )


def media_type_of(url: str, kind: str | None) -> str:
    """Guess a URL's media type from its ending; `kind` (image, audio, video) wins over that."""
    try:
        guess, _ = mimetypes.guess_type(urlsplit(url).path)
    except ValueError:  # not a URL; whoever opens it will say so
        guess = None
    if guess is not None and (kind is None or guess.startswith(f"{kind}/")):
        return guess
    return _USUAL[kind] if kind is not None else "application/octet-stream"
