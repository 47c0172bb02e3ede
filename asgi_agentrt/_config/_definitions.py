"""The keys of agentapp.yaml. Reader, defaults, JSON Schema and reference all come from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias, get_args

from ._addresses import Plugin, Url
from ._containers import (
    ATTRIBUTE_NAMES,
    SERVER_NAMES,
    FreeMap,
    Part,
    Slots,
    TextList,
    TextMap,
    empty_map,
)
from ._kinds import (
    ANY,
    HEADER,
    HOST,
    TOKEN,
    Choice,
    Flag,
    Seconds,
    Shape,
    Text,
    Whole,
)
from ._rules import Begins, Needs, Refuses, Rule, When
from ._section import Section

Transport: TypeAlias = Literal["sse", "streamable_http", "stdio"]
Permission: TypeAlias = Literal["allow", "ask", "deny"]
Concurrency: TypeAlias = Literal["queue", "reject", "interrupt", "parallel"]
StartupFailure: TypeAlias = Literal["auto", "fail", "degrade"]
Signals: TypeAlias = Literal["auto", "off"]
OnDisconnect: TypeAlias = Literal["cancel", "continue"]

MODEL_PROVIDERS: Final = (
    "openai",
    "anthropic",
    "dashscope",
    "gemini",
    "ollama",
    "openai_response",
    "deepseek",
    "moonshot",
    "xai",
    "minimax",
    "volcengine",
)
MODEL_PROVIDER_GROUP: Final = "asgi_agentrt.model_providers"
SESSION_BACKENDS: Final = ("json", "memory", "redis")
SESSION_BACKEND_GROUP: Final = "asgi_agentrt.session_backends"

_HEADER_NAME: Final = Shape(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", "is not a valid HTTP header name")
_VARIABLE_NAME: Final = Shape(r"[^=\x00]+", "is not a valid name of an environment variable")
_OVER_HTTP: Final = ("sse", "streamable_http")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ModelConfig(Section):
    """A model that the app uses as `runtime.models.<slot>`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Needs("model", When("provider", MODEL_PROVIDERS, "provider is a built-in one")),
    )

    provider: Annotated[
        str,
        Plugin(
            doc="Whose API speaks the model",
            builtin=MODEL_PROVIDERS,
            group=MODEL_PROVIDER_GROUP,
            attribute="factory",
        ),
    ]
    model: Annotated[
        str,
        Text(doc="The provider's name of the model; plug-ins may do without", empty="default"),
    ] = ""
    base_url: Annotated[
        str | None, Url(doc="Where the API is, if not at the provider's own address")
    ] = None
    api_key: Annotated[str | None, Text(doc="The key for the API", secret=True, shape=TOKEN)] = None
    stream: Annotated[bool, Flag(doc="Whether the model answers piece by piece")] = True
    generate_kwargs: Annotated[
        Mapping[str, Any], FreeMap(doc="Parameters of every call, such as temperature")
    ] = field(default_factory=empty_map)
    client_kwargs: Annotated[
        Mapping[str, Any], FreeMap(doc="Parameters of the provider's client", secret=True)
    ] = field(default_factory=empty_map)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class McpServerConfig(Section):
    """An MCP server, whose tools are in `runtime.tools`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Needs("url", When("transport", _OVER_HTTP)),
        Needs("command", When("transport", ("stdio",))),
        Refuses("url", When("transport", ("stdio",))),
        Refuses("headers", When("transport", ("stdio",))),
        Refuses("command", When("transport", _OVER_HTTP)),
        Refuses("args", When("transport", _OVER_HTTP)),
        Refuses("env", When("transport", _OVER_HTTP)),
    )

    transport: Annotated[
        Transport, Choice(doc="How the server is reached", options=get_args(Transport))
    ]
    url: Annotated[str | None, Url(doc="Its address (`sse`, `streamable_http`)")] = None
    headers: Annotated[
        Mapping[str, str],
        TextMap(
            doc="HTTP headers of every request (`sse`, `streamable_http`)",
            secret=True,
            names=_HEADER_NAME,
            values=HEADER,
        ),
    ] = field(default_factory=empty_map)
    timeout: Annotated[float, Seconds(doc="How long connecting, or one HTTP request, may take")] = (
        30.0
    )
    sse_read_timeout: Annotated[
        float, Seconds(doc="How long the server's event stream may stay silent")
    ] = 300.0
    call_timeout: Annotated[float, Seconds(doc="How long one call of a tool may take")] = 60.0
    command: Annotated[str | None, Text(doc="The program to start (`stdio`)")] = None
    args: Annotated[
        tuple[str, ...], TextList(doc="The program's arguments (`stdio`)", secret=True)
    ] = ()
    env: Annotated[
        Mapping[str, str],
        TextMap(
            doc="Environment variables that the program gets besides the usual (`stdio`)",
            secret=True,
            names=_VARIABLE_NAME,
            values=ANY,
        ),
    ] = field(default_factory=empty_map)
    required: Annotated[
        bool,
        Flag(doc="Whether starting fails without it; if not, it is tried again and again"),
    ] = True
    permission: Annotated[
        Permission,
        Choice(
            doc="What an agent may do with its tools without asking its user (AgentScope 2.x)",
            options=get_args(Permission),
        ),
    ] = "allow"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SessionConfig(Section):
    """Where sessions are kept."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Needs("url", When("backend", ("redis",))),
        Begins("url", ("redis://", "rediss://", "unix://"), When("backend", ("redis",))),
    )

    backend: Annotated[
        str,
        Plugin(
            doc="What keeps them",
            builtin=SESSION_BACKENDS,
            group=SESSION_BACKEND_GROUP,
            attribute="Class",
        ),
    ] = "json"
    save_dir: Annotated[
        str, Text(doc="The folder for `json`, relative to the project's", path=True)
    ] = "./sessions"
    url: Annotated[
        str | None,
        Url(doc="The server for `redis`: `redis://`, `rediss://` or `unix://`", schemes=()),
    ] = None
    ttl: Annotated[
        float | None,
        Seconds(doc="How long a session is kept after its last use; `null` keeps it for good"),
    ] = None
    concurrency: Annotated[
        Concurrency,
        Choice(
            doc="What a second call on a busy session does: wait, be refused, "
            "cancel the first, or run beside it",
            options=get_args(Concurrency),
        ),
    ] = "queue"
    lease: Annotated[
        float,
        Seconds(
            doc="How long a worker that was killed, or is blocked, keeps its sessions from others",
            at_least=1.0,
        ),
    ] = 15.0
    routes: Annotated[bool, Flag(doc="Whether `GET` and `DELETE /sessions/{id}` are served")] = (
        False
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PlatformConfig(Section):
    """The platform that is told how the app is; without an endpoint there is none."""

    rules: ClassVar[tuple[Rule, ...]] = (Needs("instance_id", When("endpoint")),)

    endpoint: Annotated[
        str | None,
        Url(doc="Its API; left out or empty: no platform", empty="default", prefix=True),
    ] = None
    instance_id: Annotated[
        str | None, Text(doc="What the platform calls this instance", empty="default")
    ] = None
    token: Annotated[
        str | None,
        Text(doc="Sent as a Bearer token", secret=True, shape=TOKEN, empty="default"),
    ] = None
    heartbeat_interval: Annotated[float, Seconds(doc="The time between two heartbeats")] = 30.0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TracingConfig(Section):
    """Where OpenTelemetry traces go; without an endpoint nothing is traced."""

    endpoint: Annotated[
        str | None,
        Url(doc="The OTLP/HTTP collector, path included; left out or empty: none", empty="default"),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ServerConfig(Section):
    """How invocations are served."""

    rules: ClassVar[tuple[Rule, ...]] = (Needs("max_concurrency", When("max_queue")),)

    host: Annotated[str, Text(doc="The address to listen on (`agentrt run` only)", shape=HOST)] = (
        "127.0.0.1"
    )
    port: Annotated[
        int,
        Whole(
            doc="The port to listen on, 0 for a free one (`agentrt run` only)",
            unit="",
            at_most=65535,
        ),
    ] = 8080
    max_concurrency: Annotated[
        int | None,
        Whole(
            doc="How many invocations may run at once; `null` sets no limit",
            unit="invocations",
            at_least=1,
        ),
    ] = None
    max_queue: Annotated[
        int, Whole(doc="How many callers may wait for a place to run", unit="callers")
    ] = 0
    max_body_bytes: Annotated[
        int, Whole(doc="How many bytes the body of a request may have", unit="bytes", at_least=1)
    ] = 4_194_304
    ping_interval: Annotated[
        float, Seconds(doc="The time between comments that keep a silent stream alive")
    ] = 15.0
    startup_timeout: Annotated[float, Seconds(doc="How long starting may take")] = 60.0
    drain_timeout: Annotated[
        float,
        Seconds(doc="How long running invocations may go on at reload and shutdown", zero=True),
    ] = 30.0
    send_timeout: Annotated[float, Seconds(doc="How long one write to a client may take")] = 30.0
    api_key: Annotated[
        str | None,
        Text(
            doc="If set, every route but the health ones asks for it as a Bearer token",
            secret=True,
            shape=TOKEN,
        ),
    ] = None
    startup_failure: Annotated[
        StartupFailure,
        Choice(
            doc="A start that failed stops the server, or is answered with 503 and tried again; "
            "`auto`: it stops a server of its own, never a host",
            options=get_args(StartupFailure),
        ),
    ] = "auto"
    signals: Annotated[
        Signals,
        Choice(
            doc="Whether the server's handlers of SIGTERM and SIGINT also tell us to drain",
            options=get_args(Signals),
        ),
    ] = "auto"
    on_disconnect: Annotated[
        OnDisconnect,
        Choice(doc="What happens to the run of a client that left", options=get_args(OnDisconnect)),
    ] = "cancel"
    debug: Annotated[bool, Flag(doc="Whether texts of exceptions reach clients")] = False


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RuntimeConfig(Section):
    """A whole agentapp.yaml; everything in it may be left out."""

    models: Annotated[
        Mapping[str, ModelConfig],
        Slots(
            doc="Models; one is enough, none is fine",
            section=ModelConfig,
            names=ATTRIBUTE_NAMES,
        ),
    ] = field(default_factory=empty_map)
    mcp_servers: Annotated[
        Mapping[str, McpServerConfig],
        Slots(doc="MCP servers", section=McpServerConfig, names=SERVER_NAMES),
    ] = field(default_factory=empty_map)
    session: Annotated[
        SessionConfig, Part(doc="Where sessions are kept", section=SessionConfig)
    ] = field(default_factory=SessionConfig)
    platform: Annotated[
        PlatformConfig, Part(doc="The platform to report to", section=PlatformConfig)
    ] = field(default_factory=PlatformConfig)
    tracing: Annotated[TracingConfig, Part(doc="Where traces go", section=TracingConfig)] = field(
        default_factory=TracingConfig
    )
    server: Annotated[
        ServerConfig, Part(doc="How invocations are served", section=ServerConfig)
    ] = field(default_factory=ServerConfig)
