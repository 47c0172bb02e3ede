"""Invocations of the app: what is asked, the run that answers, and who may run when."""

from ._clock import StreamClock, Ticking
from ._invocation import Invocation
from ._log import Event, RunLog, Subscription
from ._pool import RunPool
from ._run import CancelReason, Run

__all__ = [
    "CancelReason",
    "Event",
    "Invocation",
    "Run",
    "RunLog",
    "RunPool",
    "StreamClock",
    "Subscription",
    "Ticking",
]
