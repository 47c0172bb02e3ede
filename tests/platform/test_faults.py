"""A platform that is dead, slow, lying or talking nonsense costs the app nothing."""

from __future__ import annotations

import logging
import socket

import anyio
import pytest

from tests.support.platform_server import RELOAD, Answer, PlatformServer, says

from .conftest import MakeReporter, ManualTime, Running, Runtime

ELSEWHERE = {"Location": "http://127.0.0.1:9/elsewhere"}

HEARTBEAT_FAULTS = {
    "error": (Answer(500), "answered 500"),
    "redirect": (Answer(302, headers=ELSEWHERE), "answered 302, and redirects are not followed"),
    "moved": (Answer(308, headers=ELSEWHERE), "answered 308, and redirects are not followed"),
    "reset": (Answer(ending="reset"), "the exchange broke off (ReadError)"),
    "half": (Answer(body=b"x" * 50, ending="half"), "broke off (RemoteProtocolError)"),
    "silence": (Answer(ending="silence"), "no answer within 1 seconds"),
    "drip": (Answer(body=b"x" * 5000, ending="drip"), "no answer within 1 seconds"),
    "huge": (Answer(body=b"x" * 10_000_000), "the answer is longer than 65536 bytes"),
}
CONFIG_FAULTS = {
    "html": (Answer(body=b"<html><body>Log in</body></html>"), "the answer is not JSON"),
    "binary": (Answer(body=b"\xff\xfe\x00"), "the answer is not JSON"),
    "gzip": (Answer(body=b"\x1f\x8b\x08", headers={"Content-Encoding": "gzip"}), "is not JSON"),
    "deep": (Answer(body=b"[" * 60_000), "the answer is not JSON"),
    "list": (says([1]), "the answer is not a JSON object"),
    "null": (says(None), "the answer is not a JSON object"),
    "text": (says({"updated": "true", "action": "reload"}), '"updated" in the answer'),
    "unknown": (says({"updated": True, "action": "explode"}), '"action" in the answer'),
    "missing": (says({"updated": True}), '"action" in the answer'),
    "number": (says({"updated": True, "action": 7}), '"action" in the answer'),
}


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What an operator sees of us, at the usual level."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("asgi_agentrt") and record.levelno >= logging.INFO
    ]


@pytest.mark.parametrize("fault", HEARTBEAT_FAULTS)
async def test_a_bad_heartbeat_is_said_once_and_so_is_its_recovery(
    make_reporter: MakeReporter,
    running: Running,
    platform: PlatformServer,
    time: ManualTime,
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    answer, reason = HEARTBEAT_FAULTS[fault]
    platform.on_heartbeat.append(answer)
    async with running(make_reporter(heartbeat_interval=1.0)):
        await time.until_asleep()
        (line,) = lines(caplog)
        assert line.startswith("platform: the heartbeat fails: ")
        assert reason in line
        assert not platform.checks
        await time.until_asleep_again()
        assert lines(caplog)[1:] == ["platform: the heartbeat works again after 1 failures"]
    assert len(platform.beats) == 2


@pytest.mark.parametrize("fault", CONFIG_FAULTS | HEARTBEAT_FAULTS)
async def test_a_bad_config_check_slows_down_no_heartbeat(
    make_reporter: MakeReporter,
    running: Running,
    platform: PlatformServer,
    time: ManualTime,
    runtime: Runtime,
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    answer, reason = (CONFIG_FAULTS | HEARTBEAT_FAULTS)[fault]
    platform.on_config.append(answer)
    async with running(make_reporter(heartbeat_interval=1.0)):
        assert await time.until_asleep() == pytest.approx(1.0)
        (line,) = lines(caplog)
        assert line.startswith("platform: the config check fails: ")
        assert reason in line
        await time.until_asleep_again()
        assert lines(caplog)[1:] == ["platform: the config check works again after 1 failures"]
    assert len(platform.beats) == 2
    assert runtime.actions == []


async def test_a_platform_that_is_not_there_is_tried_ever_more_rarely(
    make_reporter: MakeReporter,
    running: Running,
    time: ManualTime,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    time.chance = 1.0
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: nobody else gets the port
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with running(make_reporter(endpoint=endpoint)):
            delays = [await time.until_asleep()]
            delays += [await time.until_asleep_again() for _ in range(6)]
    assert delays == pytest.approx([30, 60, 120, 240, 300, 300, 300])
    (line,) = lines(caplog)
    assert "cannot connect" in line


async def test_jitter_only_shortens_a_back_off(
    make_reporter: MakeReporter, running: Running, platform: PlatformServer, time: ManualTime
) -> None:
    time.chance = 0.0
    platform.on_heartbeat.extend([Answer(500)] * 2)
    async with running(make_reporter()):
        assert await time.until_asleep() == pytest.approx(22.5)
        assert await time.until_asleep_again() == pytest.approx(45)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_rejection_goes_to_the_longest_pause_at_once(
    make_reporter: MakeReporter,
    running: Running,
    platform: PlatformServer,
    time: ManualTime,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    caplog.set_level(logging.DEBUG)
    time.chance = 1.0
    platform.on_heartbeat.extend([Answer(status)] * 3)
    async with running(make_reporter(heartbeat_interval=20.0)):
        assert await time.until_asleep() == pytest.approx(200)
        assert await time.until_asleep_again() == pytest.approx(200)
        assert await time.until_asleep_again() == pytest.approx(200)
        (line,) = lines(caplog)
        assert f"answered {status}" in line
        assert await time.until_asleep_again() == pytest.approx(22)


async def test_the_longest_pause_is_never_below_the_interval(
    make_reporter: MakeReporter, running: Running, platform: PlatformServer, time: ManualTime
) -> None:
    time.chance = 1.0
    platform.on_heartbeat.append(Answer(404))
    async with running(make_reporter(heartbeat_interval=900.0)):
        assert await time.until_asleep() == pytest.approx(900)


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("120", 120),
        ("120.5", 120.5),
        ("Thu, 15 Jan 2026 10:33:20 GMT", 200),
        ("Thu, 15 Jan 2026 10:33:20 -0000", 200),
        ("99999999999", 300),
        ("Thu, 15 Jan 2099 10:33:20 GMT", 300),
        ("Thu, 15 Jan 1999 10:33:20 GMT", 30),
        ("0", 30),
        ("-5", 30),
        ("nan", 30),
        ("inf", 30),
        ("soon", 30),
        ("", 30),
        ("Thu, 99 Jan 2026 99:99:99 GMT", 30),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_obeyed_within_reason(
    make_reporter: MakeReporter,
    running: Running,
    platform: PlatformServer,
    time: ManualTime,
    status: int,
    retry_after: str,
    seconds: float,
) -> None:
    time.chance = 1.0
    platform.on_heartbeat.append(Answer(status, headers={"Retry-After": retry_after}))
    async with running(make_reporter()):
        assert await time.until_asleep() == pytest.approx(seconds)


async def test_retry_after_of_a_config_check_holds_for_config_checks(
    make_reporter: MakeReporter, running: Running, platform: PlatformServer, time: ManualTime
) -> None:
    platform.on_config.append(Answer(429, headers={"Retry-After": "70"}))
    async with running(make_reporter()):
        await time.until_asleep()
        for checks in (1, 1, 2):  # 30, 60 and 90 seconds later
            await time.until_asleep_again()
            assert len(platform.checks) == checks
    assert len(platform.beats) == 4


async def test_a_failing_heartbeat_does_not_stop_a_remembered_action(
    make_reporter: MakeReporter,
    running: Running,
    platform: PlatformServer,
    time: ManualTime,
    runtime: Runtime,
) -> None:
    platform.on_config.append(RELOAD)
    async with running(make_reporter()):
        await time.until_nap(2)
        platform.on_heartbeat.append(Answer(500))
        await time.until_asleep_again()
    assert runtime.actions == ["reload"]


SECRETS = ("s3cret", "joe", "pa55word")


async def test_no_log_line_of_any_level_holds_a_credential(
    make_reporter: MakeReporter,
    running: Running,
    platform: PlatformServer,
    time: ManualTime,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint = platform.url.replace("//", "//joe:pa55word@")
    reporter = make_reporter(endpoint=endpoint)
    platform.on_heartbeat.extend([Answer(500), Answer(302, headers=ELSEWHERE)])
    async with running(reporter):
        await time.until_asleep()
        await time.until_asleep_again()
        await time.until_asleep_again()
    await reporter.last_beat("stopping")
    logged = "\n".join(f"{r.getMessage()} {r.exc_text} {r.args}" for r in caplog.records)
    assert "platform: the heartbeat fails" in logged
    assert not [secret for secret in SECRETS if secret in logged or secret in repr(reporter)]


async def test_cookies_of_the_platform_are_not_kept(
    make_reporter: MakeReporter, running: Running, platform: PlatformServer, time: ManualTime
) -> None:
    platform.on_heartbeat.append(Answer(headers={"Set-Cookie": "track=1; Path=/"}))
    async with running(make_reporter()):
        await time.until_asleep()
        await time.until_asleep_again()
    assert all("cookie" not in request.headers for request in platform.received)


async def test_being_cancelled_in_an_exchange_ends_it(
    make_reporter: MakeReporter, platform: PlatformServer
) -> None:
    platform.on_heartbeat.append(Answer(ending="silence"))
    reporter = make_reporter()
    with anyio.fail_after(3), anyio.move_on_after(0.2) as scope:
        await reporter.run()
    assert scope.cancelled_caught
