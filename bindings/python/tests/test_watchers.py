"""add_reader, add_writer and what happens to descriptors under them."""

import os
import socket
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

import libruntime
from conftest import turn, turns_until

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_reader_is_level_triggered(loop: libruntime.EventLoop, pair: Pair) -> None:
    ours, theirs = pair
    seen: list[bytes] = []
    loop.add_reader(ours.fileno(), lambda: seen.append(ours.recv(1)))
    theirs.send(b"abc")
    turns_until(loop, lambda: len(seen) == 3)
    assert seen == [b"a", b"b", b"c"]
    assert loop.remove_reader(ours.fileno()) is True
    assert loop.remove_reader(ours.fileno()) is False
    theirs.send(b"d")
    turn(loop)
    assert len(seen) == 3


def test_reader_and_writer_together(loop: libruntime.EventLoop, pair: Pair) -> None:
    ours, theirs = pair
    seen: list[str] = []
    loop.add_reader(ours, seen.append, "read")
    loop.add_writer(ours, seen.append, "write")
    turn(loop)
    assert seen == ["write"]
    theirs.send(b"x")
    turn(loop)
    assert seen == ["write", "read", "write"]
    assert loop.remove_writer(ours)
    turn(loop)
    assert seen[3:] == ["read"]
    assert loop.remove_reader(ours)


def test_a_new_reader_replaces_the_old_one(loop: libruntime.EventLoop, pair: Pair) -> None:
    ours, theirs = pair
    seen: list[str] = []
    old = loop._add_reader(ours, seen.append, "old")
    loop.add_reader(ours, seen.append, "new")
    assert old.cancelled()
    theirs.send(b"x")
    turn(loop)
    assert seen == ["new"]
    loop.remove_reader(ours)


def test_cancelled_handle_stops_the_watch(loop: libruntime.EventLoop, pair: Pair) -> None:
    ours, theirs = pair
    handle = loop._add_reader(ours, pytest.fail, "called")
    theirs.send(b"x")
    handle.cancel()
    turn(loop)
    assert loop.remove_reader(ours) is False


def test_callback_may_remove_itself_and_others(loop: libruntime.EventLoop) -> None:
    pairs = [socket.socketpair() for _ in range(10)]
    seen: list[int] = []

    def ready(i: int) -> None:
        seen.append(i)
        for ours, _ in pairs:
            loop.remove_reader(ours)

    for i, (ours, theirs) in enumerate(pairs):
        loop.add_reader(ours, ready, i)
        theirs.send(b"x")
    turn(loop)
    assert len(seen) == 1
    for one in pairs:
        one[0].close()
        one[1].close()


def test_exception_in_a_reader_is_reported(
    loop: libruntime.EventLoop, pair: Pair, reports: list[dict[str, Any]]
) -> None:
    ours, theirs = pair
    loop.add_reader(ours, lambda: 1 / 0)
    theirs.send(b"x")
    turn(loop)
    loop.remove_reader(ours)
    assert isinstance(reports[0]["exception"], ZeroDivisionError)


def turns_of_a_short_sleep(loop: libruntime.EventLoop) -> int:
    """How often an idle loop wakes before a timer does it: thousands of times if it spins."""
    turn(loop)
    before = loop._turns
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    return loop._turns - before


def test_descriptor_closed_under_a_reader_is_silent(loop: libruntime.EventLoop) -> None:
    ours, theirs = socket.socketpair()
    loop.add_reader(ours.fileno(), pytest.fail, "called")
    number = ours.fileno()
    ours.close()
    theirs.close()
    assert turns_of_a_short_sleep(loop) < 10
    assert loop.remove_reader(number) is True


def test_closed_descriptor_with_a_living_duplicate_does_not_spin(
    loop: libruntime.EventLoop,
) -> None:
    ours, theirs = socket.socketpair()
    twin = os.dup(ours.fileno())
    loop.add_reader(ours.fileno(), lambda: None)
    number = ours.fileno()
    ours.close()
    theirs.send(b"x")
    for _ in range(5):
        turn(loop)
    loop.remove_reader(number)
    turn(loop)
    assert turns_of_a_short_sleep(loop) < 10
    os.close(twin)
    theirs.close()


def test_reused_number_is_watched_anew(loop: libruntime.EventLoop) -> None:
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    loop.add_reader(number, pytest.fail, "the closed one")
    ours.close()
    theirs.close()
    again, peer = socket.socketpair()
    if again.fileno() != number:
        os.dup2(again.fileno(), number)
        again.detach()
        again = socket.socket(fileno=number)
    seen: list[int] = []
    loop.add_reader(number, seen.append, 1)
    peer.send(b"x")
    turn(loop)
    assert seen == [1]
    assert loop.remove_reader(number)
    again.close()
    peer.close()


@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
@pytest.mark.parametrize(
    ("fd", "error"),
    [
        (-1, ValueError),
        ("a string", ValueError),
        (None, ValueError),
        (object(), ValueError),
        (10**6, OSError),
    ],
)
def test_bad_descriptors_are_refused(
    loop: libruntime.EventLoop, method: str, fd: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        getattr(loop, method)(fd, print)
    turn(loop)


def test_regular_files_are_refused(loop: libruntime.EventLoop) -> None:
    with tempfile.TemporaryFile() as file:
        with pytest.raises(PermissionError):
            loop.add_reader(file, print)
        assert loop.remove_reader(file) is False


def test_missing_callback_is_refused(loop: libruntime.EventLoop, pair: Pair) -> None:
    with pytest.raises(TypeError):
        loop.add_reader(pair[0])  # type: ignore[call-arg]


def test_watchers_hold_and_release_their_callbacks(loop: libruntime.EventLoop, pair: Pair) -> None:
    import weakref

    class Thing:
        def method(self) -> None: ...

    thing = Thing()
    alive = weakref.ref(thing)
    loop.add_reader(pair[0], thing.method)
    loop.add_writer(pair[0], thing.method)
    del thing
    assert alive() is not None
    loop.remove_reader(pair[0])
    loop.remove_writer(pair[0])
    assert alive() is None


def test_close_releases_watchers(pair: Pair) -> None:
    import weakref

    class Thing:
        def method(self) -> None: ...

    loop = libruntime.EventLoop()
    thing = Thing()
    alive = weakref.ref(thing)
    loop.add_reader(pair[0], thing.method)
    del thing
    loop.close()
    assert alive() is None
