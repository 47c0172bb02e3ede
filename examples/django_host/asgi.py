"""What the ASGI server runs: the agent at /agent, Django everywhere else."""

import os
from pathlib import Path

from django.core.asgi import get_asgi_application

from asgi_agentrt import AgentRuntimeMiddleware

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_config.settings")

application = AgentRuntimeMiddleware(
    get_asgi_application(), Path(__file__).parent / "my_project", path="/agent"
)
