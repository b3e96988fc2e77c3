"""Fixtures of the hostile peers."""
import shutil
import tempfile

import pytest

import wire
from receiver import Peer, Receiver, check_received, check_refused, declared_bytes


@pytest.fixture
def directory():
    path = tempfile.mkdtemp(prefix="ferry-")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def receive(directory):
    """receive(OPTION...) starts `ferry receive`; it is killed at the end."""
    started = []

    def start(*options, **more):
        started.append(Receiver(directory, *options, **more))
        return started[-1]

    yield start
    for one in started:
        print(f"--- {one.lines}\n{one.errors()}")
        one.kill()


@pytest.fixture
def refuses(receive):
    """refuses(BYTES, WORDS): the answer comes while the connection stays open, by name, and with
    SHUT(1) if the return path was opened; ends=True: the stream ends behind its bytes."""

    def check(data, words, *options, opened=True, ends=False, declared=declared_bytes()):
        receiver = receive(*options)
        peer = Peer(receiver.uri, data)
        if ends:
            peer.end()
        said = wire.answers(peer.hear())
        peer.close()
        check_refused(receiver, words, declared)
        shuts = [a for a in said if a[0] == wire.SHUT]
        assert shuts == ([(wire.SHUT, wire.be32(1))] if opened else []), said

    return check


@pytest.fixture
def accepts(receive):
    """accepts(BYTES, RAM): the guest arrives; the source hears SHUT(0) if it listens."""

    def check(data, *options, ram=None, opened=True):
        receiver = receive(*options)
        peer = Peer(receiver.uri, data).end()
        said = wire.answers(peer.hear())
        peer.close()
        check_received(receiver, ram)
        shuts = [a for a in said if a[0] == wire.SHUT]
        assert shuts == ([(wire.SHUT, wire.be32(0))] if opened else []), said

    return check
