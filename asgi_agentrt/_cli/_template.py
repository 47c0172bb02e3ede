"""The files of a new project."""

from __future__ import annotations

CONFIG = """\
# What this project needs. Everything may be left out; `agentrt schema` prints a JSON Schema for
# editors, and `agentrt validate` names every fault. ${NAME} is the environment variable NAME.

# models:                          # in app.py: runtime.models.main
#   main:
#     provider: openai             # openai, anthropic, dashscope, gemini, ollama, ...
#     model: gpt-4o
#     api_key: ${OPENAI_API_KEY}

# mcp_servers:                     # in app.py: their tools are in runtime.tools
#   search:
#     transport: streamable_http   # sse, streamable_http, stdio
#     url: https://example.com/mcp
#     headers: {Authorization: "Bearer ${MCP_TOKEN}"}

session:
  backend: json                    # json, memory, redis
  save_dir: ./sessions             # for json; relative to this folder

server:
  host: 127.0.0.1                  # who listens on another address wants an api_key
  port: 8080
  # api_key: ${AGENT_API_KEY}      # callers send it as a Bearer token
"""

APP = '''\
"""The agent: it repeats what it is told, word by word. Put your own in its place."""

from collections.abc import AsyncIterator

from asgi_agentrt import AgentApp, Msg, SessionContext


class App(AgentApp):
    """One instance serves all calls, many at a time: what belongs to a session is in `ctx`."""

    async def __call__(self, msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        """Answer one message; each piece is sent as soon as it is yielded."""
        turn = ctx.state["turns"] = ctx.state.get("turns", 0) + 1
        yield f"({turn}) You said:"
        for word in text_of(msg).split():
            yield f" {word}"


def text_of(msg: Msg) -> str:
    """A message holds a text, or a list of blocks: texts, images and more."""
    if isinstance(msg.content, str):
        return msg.content
    return " ".join(block["text"] for block in msg.content if block["type"] == "text")
'''

REQUIREMENTS = """\
asgi-agentrt[server]
# asgi-agentrt[agentscope]         # agents, models and tools of AgentScope
"""

FILES = {"agentapp.yaml": CONFIG, "app.py": APP, "requirements.txt": REQUIREMENTS}
