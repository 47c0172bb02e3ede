"""What is done to a line, drawn at random, and what must come of it."""

from __future__ import annotations

from hypothesis import strategies as st

from asgi_agentrt._session import Standing
from asgi_agentrt._session._line import Entry, Line, enter, leave, renew

tickets = st.sampled_from("abcd")
# So far apart that the time which a test takes decides nothing.
leases = st.sampled_from([50.0, 200.0, 1000.0])
pauses = st.sampled_from([20.0, 100.0, 500.0, 1500.0])
entries = st.builds(Entry, leases, st.booleans(), st.booleans())
operations = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), tickets, entries),
        st.tuples(st.just("enter"), tickets, entries),
        st.tuples(st.just("renew"), tickets, leases),
        st.tuples(st.just("leave"), tickets),
        st.tuples(st.just("wait"), pauses),
    ),
    max_size=25,
)


class LineModel:
    """A line that the algorithm alone is applied to."""

    def __init__(self) -> None:
        self.line: Line = ()
        self.now = 0.0

    def apply(self, step: tuple[object, ...]) -> Standing | None:
        """Do one of the `operations`; returns where the ticket stands then."""
        match step:
            case ("enter", str(ticket), Entry() as entry):
                self.line, standing = enter(self.line, ticket, entry, self.now)
            case ("renew", str(ticket), float(lease_s)):
                self.line, standing = renew(self.line, ticket, lease_s, self.now)
            case ("leave", str(ticket)):
                self.line = leave(self.line, ticket, self.now)
                return None
            case ("wait", float(seconds)):
                self.now += seconds
                return None
            case _:
                raise AssertionError(step)
        return standing
