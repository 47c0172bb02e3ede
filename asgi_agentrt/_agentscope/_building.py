"""Build a provider's class from a `models` entry, with errors that hold none of its values."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .._config import ModelConfig

_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")


class Entry:
    """A `models` entry, taken apart: what nobody takes out of `generate` and `client` goes on.

    URL and key may also stand in `client_kwargs`, as in code that was written for AgentScope 1.x.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.provider = config.provider
        self.model = config.model
        self.stream = config.stream
        self.generate = dict(config.generate_kwargs)
        self.client = dict(config.client_kwargs)
        key, url = self.client.pop("api_key", None), self.client.pop("base_url", None)
        self.api_key: str | None = config.api_key or key
        self.base_url: str | None = config.base_url or url


def build(make: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a class of AgentScope.

    Raises:
        ValueError: it refused, or a library that it needs is not installed.
    """
    try:
        return make(**arguments)
    except ImportError as error:
        # AgentScope 1.x raises a plain ImportError, from the one that names the module.
        cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        what = cause.name or "a library that is not installed"
        raise ValueError(f"this provider needs {what}") from None
    except TypeError as error:
        if unexpected := _UNEXPECTED.search(str(error)):
            raise ValueError(f"client_kwargs.{unexpected[1]} is not known") from None
        raise ValueError("client_kwargs do not fit this provider") from None
    except Exception as error:  # noqa: BLE001  any SDK's own classes; their texts may quote a key
        raise ValueError(
            f"this provider does not take its parameters ({type(error).__name__})"
        ) from None


def require_key(api_key: str | None, provider: str, *, variable: str | None = None) -> str:
    """Return the key.

    Args:
        api_key: As configured.
        provider: For the text.
        variable: The environment variable that the provider's library reads instead, if it does.

    Raises:
        ValueError: there is none.
    """
    if api_key:
        return api_key
    instead = f", or {variable} in the environment" if variable else ""
    raise ValueError(f"api_key is required for {provider}{instead}")


def take(given: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Move these keys out of `given`, as far as it has them."""
    return {name: given.pop(name) for name in names if name in given}


def fit_to_sdk(create: Callable[..., Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Put generation parameters that an SDK's method does not know into its `extra_body`.

    Servers that speak an API of OpenAI or Anthropic take more than the SDK of the day names
    (`top_k`, `repetition_penalty`), and SDKs drop names (`temperature` in anthropic 1).
    """
    known = inspect.signature(create).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return dict(parameters)
    fitting = {name: value for name, value in parameters.items() if name in known}
    rest = {name: value for name, value in parameters.items() if name not in known}
    if rest:
        fitting["extra_body"] = {**rest, **fitting.get("extra_body", {})}
    return fitting
