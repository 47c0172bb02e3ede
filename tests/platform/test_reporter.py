"""What arrives at the platform, and when."""

from __future__ import annotations

import logging
import os

import anyio
import httpx
import pytest

from asgi_agentrt._config import PlatformConfig
from asgi_agentrt._platform import Reporter, Snapshot, Timing, resident_memory_mb
from tests.support.platform_server import Answer, PlatformServer, open_platform

from .conftest import MakeReporter, ManualTime, Running, Runtime


async def test_the_first_heartbeat_is_sent_at_once_and_is_as_agreed(
    make_reporter: MakeReporter, running: Running, platform: PlatformServer, time: ManualTime
) -> None:
    async with running(make_reporter()):
        await time.until_asleep()
    beat, check = platform.received
    assert (beat.method, beat.path) == ("POST", "/api/instances/inst-1/heartbeat")
    assert beat.headers["authorization"] == "Bearer s3cret-token"
    assert beat.headers["content-type"] == "application/json"
    memory = beat.json["metrics"].pop("memory_usage_mb")
    assert isinstance(memory, int)
    assert memory > 0
    assert beat.json | {"metrics": {}} == {
        "status": "running",
        "timestamp": "2026-01-15T10:30:00Z",
        "metrics": {},
    }
    assert list(beat.json) == ["status", "timestamp", "metrics"]
    assert beat.json["metrics"] | {"memory_usage_mb": 0} == {
        "active_sessions": 5,
        "total_requests": 1000,
        "memory_usage_mb": 0,
    }
    assert (check.method, check.path) == ("GET", "/api/instances/inst-1/config")
    assert check.headers["authorization"] == "Bearer s3cret-token"


async def test_each_heartbeat_tells_the_state_of_its_own_moment(
    make_reporter: MakeReporter,
    running: Running,
    platform: PlatformServer,
    time: ManualTime,
    runtime: Runtime,
) -> None:
    async with running(make_reporter()):
        await time.until_asleep()
        runtime.snapshot = Snapshot("draining", 1, 1001)
        await time.until_asleep_again()
    first, second = platform.beats
    assert (first["status"], first["metrics"]["total_requests"]) == ("running", 1000)
    assert (second["status"], second["metrics"]["total_requests"]) == ("draining", 1001)


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 27.0), (0.5, 30.0), (1.0, 33.0)])
async def test_the_interval_has_a_tenth_of_jitter(
    make_reporter: MakeReporter, running: Running, time: ManualTime, chance: float, seconds: float
) -> None:
    time.chance = chance
    async with running(make_reporter()):
        assert await time.until_asleep() == pytest.approx(seconds)
        assert await time.until_asleep_again() == pytest.approx(seconds)


async def test_both_requests_of_a_heartbeat_share_one_connection(
    running: Running, time: ManualTime, runtime: Runtime
) -> None:
    """Connections are counted below the client; a reused one is not opened again."""
    opened: list[str] = []

    async def trace(event: str, _: object) -> None:
        if event == "connection.connect_tcp.complete":
            opened.append(event)

    class Traced(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            request.extensions["trace"] = trace
            return await super().handle_async_request(request)

    with open_platform() as platform:
        reporter = Reporter(
            PlatformConfig(endpoint=platform.url, instance_id="i", heartbeat_interval=30.0),
            snapshot=lambda: runtime.snapshot,
            on_action=runtime.act,
            transport=Traced(),
            timing=time.timing,
        )
        async with running(reporter):
            await time.until_asleep()
            await time.until_asleep_again()
        assert len(platform.received) == 4
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("instance_id", "path"),
    [
        ("a b/c?d#e", "/api/instances/a%20b%2Fc%3Fd%23e/heartbeat"),
        ("..", "/api/instances/%2E%2E/heartbeat"),
        ("ünï", "/api/instances/%C3%BCn%C3%AF/heartbeat"),
    ],
)
async def test_the_instance_id_stays_one_segment_of_the_path(
    make_reporter: MakeReporter, platform: PlatformServer, instance_id: str, path: str
) -> None:
    await make_reporter(instance_id=instance_id).last_beat("stopping")
    assert [request.path for request in platform.received] == [path]


async def test_a_slash_at_the_end_of_the_endpoint_is_not_doubled(
    make_reporter: MakeReporter, platform: PlatformServer
) -> None:
    await make_reporter(endpoint=platform.url + "/api/").last_beat("stopping")
    assert platform.received[0].path == "/api/instances/inst-1/heartbeat"


async def test_without_a_token_the_login_of_the_endpoint_is_used(
    make_reporter: MakeReporter, platform: PlatformServer
) -> None:
    endpoint = platform.url.replace("//", "//joe:pw@")
    await make_reporter(endpoint=endpoint, token=None).last_beat("stopping")
    await make_reporter(endpoint=endpoint).last_beat("stopping")
    basic, bearer = (request.headers["authorization"] for request in platform.received)
    assert basic == "Basic am9lOnB3"
    assert bearer == "Bearer s3cret-token"


async def test_without_an_endpoint_nothing_happens(make_reporter: MakeReporter) -> None:
    reporter = make_reporter(endpoint=None, instance_id=None)
    with anyio.fail_after(1):
        await reporter.run()
        await reporter.last_beat("stopping")


async def test_a_change_of_status_can_be_told_at_once(
    make_reporter: MakeReporter,
    running: Running,
    platform: PlatformServer,
    time: ManualTime,
    runtime: Runtime,
) -> None:
    """Such a heartbeat brings no config check along: those keep their own pace."""
    reporter = make_reporter()
    runtime.snapshot = Snapshot("starting", 0, 0)
    async with running(reporter):
        await time.until_asleep()
        runtime.snapshot = Snapshot("running", 0, 0)
        reporter.beat_soon()
        await time.until_nap(2)
    assert [beat["status"] for beat in platform.beats] == ["starting", "running"]
    assert len(platform.checks) == 1


async def test_a_change_of_status_during_a_heartbeat_is_not_forgotten(
    running: Running, time: ManualTime, runtime: Runtime
) -> None:
    told: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            told.append(runtime.snapshot.status)
            if len(told) == 1:
                runtime.snapshot = Snapshot("running", 0, 0)
                reporter.beat_soon()
        return httpx.Response(200, json={"updated": False})

    runtime.snapshot = Snapshot("starting", 0, 0)
    reporter = Reporter(
        PlatformConfig(endpoint="http://p", instance_id="i", heartbeat_interval=30.0),
        snapshot=lambda: runtime.snapshot,
        on_action=runtime.act,
        transport=httpx.MockTransport(answer),
        timing=time.timing,
    )
    async with running(reporter):
        await time.until_asleep()
    assert told == ["starting", "running"]


async def test_a_failing_platform_is_not_hurried(
    make_reporter: MakeReporter, running: Running, platform: PlatformServer, time: ManualTime
) -> None:
    platform.on_heartbeat.append(Answer(429, headers={"Retry-After": "60"}))
    reporter = make_reporter()
    async with running(reporter):
        await time.until_asleep()
        reporter.beat_soon()
        await anyio.wait_all_tasks_blocked()
        assert len(platform.beats) == 1


async def test_the_last_heartbeat_carries_the_given_status_and_ends_the_rest(
    make_reporter: MakeReporter, running: Running, platform: PlatformServer, time: ManualTime
) -> None:
    reporter = make_reporter()
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(5):
            tasks.start_soon(reporter.run)
            await time.until_asleep()
            await reporter.last_beat("stopping")
            reporter.beat_soon()  # the run wakes up, sees that it is over and ends by itself
    assert [beat["status"] for beat in platform.beats] == ["running", "stopping"]


async def test_the_last_heartbeat_gets_through_in_a_cancelled_scope(
    make_reporter: MakeReporter, platform: PlatformServer
) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await make_reporter().last_beat("failed")
    assert [beat["status"] for beat in platform.beats] == ["failed"]


async def test_the_last_heartbeat_gives_up_after_two_seconds(
    make_reporter: MakeReporter, platform: PlatformServer
) -> None:
    platform.on_heartbeat.append(Answer(body=b" " * 5000, ending="drip"))
    began = anyio.current_time()
    with anyio.fail_after(4):
        await make_reporter().last_beat("stopping")
    assert 1.5 < anyio.current_time() - began < 3


async def test_the_same_reporter_runs_again_after_its_last_heartbeat(
    make_reporter: MakeReporter, running: Running, platform: PlatformServer, time: ManualTime
) -> None:
    reporter = make_reporter()
    async with running(reporter):
        await time.until_asleep()
    await reporter.last_beat("stopping")
    async with running(reporter):
        await time.until_nap(2)
    assert [beat["status"] for beat in platform.beats] == ["running", "stopping", "running"]


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("ALL_PROXY", "nonsense://joe:pw@proxy", "the HTTP client cannot be set up (ValueError)"),
        ("SSL_CERT_FILE", __file__, "the certificates cannot be loaded (SSLError)"),
    ],
)
async def test_an_environment_that_spoils_the_http_client_costs_one_line(
    make_reporter: MakeReporter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variable: str,
    value: str,
    reason: str,
) -> None:
    reporter = make_reporter()
    monkeypatch.setenv(variable, value)
    with anyio.fail_after(2):
        await reporter.run()
        await reporter.last_beat("stopping")
    loud = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert loud == [f"platform: there will be no heartbeats: {reason}"]


async def test_without_timing_real_time_passes(
    platform: PlatformServer, running: Running, runtime: Runtime
) -> None:
    second_beat = anyio.Event()

    def snapshot() -> Snapshot:
        if len(platform.beats) == 1:
            second_beat.set()
        return runtime.snapshot

    reporter = Reporter(
        PlatformConfig(endpoint=platform.url, instance_id="i", heartbeat_interval=0.01),
        snapshot=snapshot,
        on_action=runtime.act,
    )
    async with running(reporter):
        with anyio.fail_after(5):
            await second_beat.wait()


def test_the_time_of_day_has_a_zone() -> None:
    assert Timing().utc_now().utcoffset() is not None


def test_memory_is_what_the_kernel_says(monkeypatch: pytest.MonkeyPatch) -> None:
    ballast = bytearray(os.urandom(1)) * (64 << 20)
    full = resident_memory_mb()
    del ballast
    assert full > resident_memory_mb() + 32
    monkeypatch.setattr("asgi_agentrt._platform._memory._STATM", _Missing())
    assert resident_memory_mb() >= full - 1  # the highest so far


class _Missing:
    def read_bytes(self) -> bytes:
        raise FileNotFoundError
