"""An MCP server with one tool, spoken to over its standard input and output."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

try:
    from mcp.server.mcpserver import MCPServer
except ImportError:  # the SDK before 2.0 has it under another name
    from mcp.server.fastmcp import FastMCP as MCPServer

server = MCPServer("clock", log_level="WARNING")


@server.tool()
def current_time(timezone: str = "UTC") -> str:
    """Return the time in a time zone such as Europe/Paris."""
    return datetime.now(ZoneInfo(timezone)).isoformat(timespec="seconds")


if __name__ == "__main__":
    server.run()
