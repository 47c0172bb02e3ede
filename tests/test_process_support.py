"""The harness itself: a test that relies on it must be able to fail."""

from __future__ import annotations

import os
import select
import signal
import sys

import pytest

from tests.support.process import running


def test_expect_returns_what_the_program_said() -> None:
    with running([sys.executable, "-c", "print('port', 4711)"]) as process:
        assert process.expect(r"port (\d+)")[1] == "4711"
        assert process.wait() == 0


def test_expect_fails_with_the_output_when_the_program_ends_before() -> None:
    with (
        running([sys.executable, "-c", "import sys; sys.exit('no luck')"]) as process,
        pytest.raises(AssertionError, match=r"(?s)ended.*no luck"),
    ):
        process.expect("ready")


def test_expect_gives_up_after_its_limit() -> None:
    with (
        running([sys.executable, "-c", "import signal; signal.pause()"]) as process,
        pytest.raises(AssertionError, match=r"within 0\.2 s"),
    ):
        process.expect("ready", limit_s=0.2)


def test_a_program_that_ignores_sigterm_and_its_child_are_gone_after_the_block() -> None:
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = os.fork()\n"
        "if child: print('child', child, flush=True)\n"
        "signal.pause()\n"
    )
    with running([sys.executable, "-c", code], grace_s=0.2) as process:
        child = int(process.expect(r"child (\d+)")[1])
        # Readable once the process has ended, reaped or not.
        watched = os.pidfd_open(child)
        with pytest.raises(AssertionError, match="still runs"):
            process.stop(limit_s=0.2)
    ended, _, _ = select.select([watched], [], [], 5)
    os.close(watched)
    assert process.returncode == -signal.SIGKILL
    assert ended, "the child outlived the block"
