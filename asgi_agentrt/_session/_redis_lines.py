"""Lines in Redis: `_line.py` in Lua, by the server's clock."""

from __future__ import annotations

from typing import Any, Final

from ._line import FORGET_AFTER_S, Entry, Standing, Ticket

# A line is a JSON list of [ticket, expires at, is interrupted]; times in milliseconds since 1970.
# The key lives as long as anybody in it might still be renewed.
_COMMON: Final = """
local FORGET = %d
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function read(key)
  local text = redis.call('GET', key)
  local present = {}
  if text then
    for _, place in ipairs(cjson.decode(text)) do
      if place[2] > now - FORGET then present[#present + 1] = place end
    end
  end
  return present
end

local function write(key, line)
  if #line == 0 then
    redis.call('DEL', key)
    return
  end
  local last = 0
  for _, place in ipairs(line) do last = math.max(last, place[2]) end
  redis.call('SET', key, cjson.encode(line), 'PX', last - now + FORGET)
end

local function find(line, ticket)
  for position, place in ipairs(line) do
    if place[1] == ticket then return position end
  end
end

local function standing(line, ticket)
  local position = find(line, ticket)
  local head = line[1] and line[1][1] or false
  if not position then return {-1, head, 0} end
  return {position - 1, head, line[position][3]}
end
""" % (FORGET_AFTER_S * 1000)  # noqa: UP031  both other ways would need the braces doubled

# KEYS: line; ARGV: ticket, lease, interrupt, only if free.
_ENTER: Final = """
local ticket, lease = ARGV[1], tonumber(ARGV[2])
local line = {}
for _, place in ipairs(read(KEYS[1])) do
  if place[2] > now or place[1] == ticket then line[#line + 1] = place end
end
local position = find(line, ticket)
if not position then
  if ARGV[4] == '1' and #line > 0 then return standing(line, ticket) end
  position = #line + 1
  line[position] = {ticket, 0, 0}
end
line[position][2] = now + lease
if ARGV[3] == '1' then
  for ahead = 1, position - 1 do line[ahead][3] = 1 end
end
write(KEYS[1], line)
return standing(line, ticket)
"""

# KEYS: line; ARGV: ticket, lease.
_RENEW: Final = """
local ticket = ARGV[1]
local before = read(KEYS[1])
local position = find(before, ticket)
if not position then return standing(before, ticket) end
before[position][2] = now + tonumber(ARGV[2])
local line = {}
for index, place in ipairs(before) do
  if index >= position or place[2] > now then line[#line + 1] = place end
end
write(KEYS[1], line)
return standing(line, ticket)
"""

# KEYS: line; ARGV: ticket.
_LEAVE: Final = """
local line = {}
for _, place in ipairs(read(KEYS[1])) do
  if place[1] ~= ARGV[1] then line[#line + 1] = place end
end
write(KEYS[1], line)
return 1
"""

# For other scripts that write only while nobody else has the turn: `_line.may_save`.
MAY_SAVE: Final = """
local function may_save(key, ticket)
  local text = redis.call('GET', key)
  if not text then return true end
  local line = cjson.decode(text)
  return not line[1] or line[1][1] == ticket
end
"""


class LineScripts:
    """The operations on lines, each a script that Redis carries out in one step.

    Args:
        client: A `redis.asyncio.Redis`.
    """

    def __init__(self, client: Any) -> None:
        self._enter = client.register_script(_COMMON + _ENTER)
        self._renew = client.register_script(_COMMON + _RENEW)
        self._leave = client.register_script(_COMMON + _LEAVE)

    async def enter(self, name: str, ticket: Ticket, entry: Entry) -> Standing:
        """Join the line under a Redis key."""
        flags = [int(entry.interrupt), int(entry.only_if_free)]
        args = [ticket, _milliseconds(entry.lease_s), *flags]
        return _standing(await self._enter(keys=[name], args=args))

    async def renew(self, name: str, ticket: Ticket, lease_s: float) -> Standing:
        """Extend a lease in it."""
        return _standing(await self._renew(keys=[name], args=[ticket, _milliseconds(lease_s)]))

    async def leave(self, name: str, ticket: Ticket) -> None:
        """Leave it."""
        await self._leave(keys=[name], args=[ticket])


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _standing(answer: tuple[int, bytes | None, int]) -> Standing:
    position, head, is_interrupted = answer
    return Standing(
        None if position < 0 else position,
        None if head is None else head.decode(),
        bool(is_interrupted),
    )
