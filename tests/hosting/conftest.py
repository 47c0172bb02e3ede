"""Tests with real servers and with frameworks that not every environment has."""

from __future__ import annotations

import pytest

for _module in ("fastapi", "django", "hypercorn", "granian", "daphne", "gunicorn", "uvicorn"):
    pytest.importorskip(_module, reason="needs the dependency group `hosting`")
