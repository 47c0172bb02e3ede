"""A spy and the agent that serves it."""

from __future__ import annotations

import pytest

from asgi_agentrt import AgentRuntimeASGI
from tests.support.spies import Spy, agent_of


@pytest.fixture
def spy() -> Spy:
    return Spy()


@pytest.fixture
def agent(spy: Spy) -> AgentRuntimeASGI:
    return agent_of(spy)
