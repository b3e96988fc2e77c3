"""The connections of one migration: who is let in, who is dropped, and how long anybody waits."""
import socket
import threading
import time

import pytest

import wire
from receiver import SHORT, Peer, check_received, check_refused, raise_descriptor_limit
from wire import PAGE, Stream, content, hello, packet, sync

OWNER, OTHER = bytes(range(16)), bytes(range(1, 17))
TWO = ("--channels", "2")

# A guest whose pages travel on two channels, in per-round sync.
MAIN = bytes(Stream(start=wire.start(wire.block_list(), wire.flush()),
                    rounds=wire.part(wire.flush()), end=wire.end(wire.flush())))
CHANNELS = (sync() + packet([0, PAGE], payload=content(0) + content(1)) + sync() + sync(),
            sync() + packet([5 * PAGE], [6 * PAGE], content(5)) + sync() + sync())
RAM = wire.memory({("pc.ram", 0): content(0), ("pc.ram", PAGE): content(1),
                   ("pc.ram", 5 * PAGE): content(5)})


def send_good(uri, owner=bytes(16), main_first=True):
    """The whole set; the answers on main."""
    main = Peer(uri, MAIN[:8]) if main_first else None
    channels = [Peer(uri, hello(i, owner) + CHANNELS[i]).end() for i in range(2)]
    main = main.send(MAIN[8:]) if main else Peer(uri, MAIN)
    said = wire.answers(main.hear())
    for peer in (main, *channels):
        peer.close()
    assert said[-1] == (wire.SHUT, wire.be32(0)), said


def test_a_good_set_is_accepted(receive):
    receiver = receive(*TWO)
    send_good(receiver.uri)
    check_received(receiver, RAM)


BAD_HELLOS = {
    "magic": hello(0, magic=0x11223345), "version-0": hello(0, version=0),
    "version-2": hello(0, version=2), "reserved": hello(0, reserved=b"\0" * 38 + b"x"),
    "reserved-first": hello(0, reserved=b"x" + bytes(38)), "uuid": hello(0, OTHER),
    "id-2": hello(2, OWNER), "id-255": hello(255, OWNER),
}


@pytest.mark.parametrize("bad", BAD_HELLOS.values(), ids=BAD_HELLOS)
def test_m30_hello_that_lies_costs_that_connection_only(receive, bad):
    receiver = receive(*TWO, "--uuid", "00010203-0405-0607-0809-0a0b0c0d0e0f")
    assert Peer(receiver.uri, bad).is_dropped()
    send_good(receiver.uri, OWNER)
    check_received(receiver, RAM)


def test_m30_incomplete_set_is_refused_at_the_deadline(receive):
    receiver = receive(*TWO, "--timeout", SHORT)
    main = Peer(receiver.uri, MAIN)
    one = Peer(receiver.uri, hello(1))
    assert Peer(receiver.uri, hello(0, version=9)).is_dropped()
    check_refused(receiver, ["channel", "missing|1 of 2"])
    main.close()
    one.close()


def test_m31_id_twice(receive):
    receiver = receive(*TWO)
    main = Peer(receiver.uri, MAIN)
    first = Peer(receiver.uri, hello(0) + CHANNELS[0]).end()
    assert Peer(receiver.uri, hello(0) + CHANNELS[0]).is_dropped()
    second = Peer(receiver.uri, hello(1) + CHANNELS[1]).end()
    main.hear()
    check_received(receiver, RAM)
    for peer in (main, first, second):
        peer.close()


def test_m31_two_mains(receive):
    receiver = receive(*TWO)
    main = Peer(receiver.uri, MAIN)
    assert Peer(receiver.uri, MAIN).is_dropped()
    channels = [Peer(receiver.uri, hello(i) + CHANNELS[i]).end() for i in range(2)]
    main.hear()
    check_received(receiver, RAM)
    for peer in (main, *channels):
        peer.close()


def test_m31_channels_before_main(receive):
    receiver = receive(*TWO)
    send_good(receiver.uri, main_first=False)
    check_received(receiver, RAM)


def test_m31_channel_without_multifd(receive):
    receiver = receive()
    assert Peer(receiver.uri, hello(0)).is_dropped()
    Peer(receiver.uri, wire.GOOD).hear()
    check_received(receiver)


def attempt(uri, first):
    """A connection that must not get in: refused, or dropped without a word."""
    try:
        peer = Peer(uri, first)
    except (ConnectionRefusedError, FileNotFoundError):
        return
    assert peer.is_dropped()
    peer.close()


def test_m32_more_connections_than_needed(receive):
    receiver = receive(*TWO)
    cut = len(MAIN) - 100
    main = Peer(receiver.uri, MAIN[:8])
    channels = [Peer(receiver.uri, hello(i) + CHANNELS[i]).end() for i in range(2)]
    main.send(MAIN[8:cut])
    main.hear_until(lambda said: said)  # the PONG: it has begun
    for first in (hello(2), hello(0), MAIN, b"", b"GET /"):
        attempt_in_background(receiver.uri, first)
    main.send(MAIN[cut:])
    main.hear()
    check_received(receiver, RAM)
    for peer in (main, *channels):
        peer.close()


def attempt_in_background(uri, first):
    """As attempt(), which may last until the listener is closed."""
    threading.Thread(target=attempt, args=(uri, first), daemon=True).start()


def test_m33_fewer_channels_than_configured(receive):
    receiver = receive("--channels", "4", "--timeout", SHORT)
    peers = [Peer(receiver.uri, MAIN), *(Peer(receiver.uri, hello(i)) for i in (0, 3))]
    check_refused(receiver, ["channel", "2 of 4|1, 2|missing"])
    for peer in peers:
        peer.close()


def test_m33_no_main(receive):
    receiver = receive(*TWO, "--timeout", SHORT)
    peers = [Peer(receiver.uri, hello(i)) for i in range(2)]
    check_refused(receiver, "main")
    for peer in peers:
        peer.close()


def drip(peer, data, seconds=0.2):
    """A byte now and then, as long as the other end takes them."""
    try:
        for i in range(len(data)):
            peer.socket.sendall(data[i:i + 1])
            time.sleep(seconds)
    except OSError:
        pass


def start_drip(peer, data):
    thread = threading.Thread(target=drip, args=(peer, data), daemon=True)
    thread.start()
    return thread


def test_m58_slow_hello_does_not_keep_others_waiting(receive):
    receiver = receive(*TWO)
    slow = [Peer(receiver.uri) for _ in range(3)]
    for peer, data in zip(slow, (hello(0), MAIN, b"")):
        start_drip(peer, data)
    send_good(receiver.uri)
    check_received(receiver, RAM)
    for peer in slow:
        peer.close()


def test_m58_slow_hello_is_closed_at_its_deadline(receive):
    receiver = receive(*TWO, "--timeout", SHORT)
    slow = Peer(receiver.uri)
    start_drip(slow, hello(0))
    assert slow.is_dropped()
    slow.close()


@pytest.mark.parametrize("where", ["header", "page"])
def test_m58_slow_stream_is_closed_by_the_time_limit(receive, where):
    receiver = receive("--max-time", SHORT)
    at = {"header": 9, "page": wire.GOOD.index(content(0)) + 100}[where]
    peer = Peer(receiver.uri, wire.GOOD[:at])
    start_drip(peer, wire.GOOD[at:])
    check_refused(receiver, "not done within --max-time", 80 * PAGE)
    peer.close()


@pytest.mark.parametrize("where", ["header", "configuration", "page", "devices"])
def test_m58_silent_stream_is_closed_at_the_timeout(receive, where):
    receiver = receive("--timeout", SHORT)
    at = {"header": 8, "configuration": 15, "page": wire.GOOD.index(content(0)) + 100,
          "devices": len(wire.GOOD) - 300}[where]
    peer = Peer(receiver.uri, wire.GOOD[:at])
    check_refused(receiver, "timed out|deadline|silent|nothing", 80 * PAGE)
    peer.close()


def test_m58_slow_channel_is_closed_by_the_time_limit(receive):
    receiver = receive(*TWO, "--max-time", SHORT)
    main = Peer(receiver.uri, MAIN)
    one = Peer(receiver.uri, hello(1) + CHANNELS[1])
    slow = Peer(receiver.uri, hello(0))
    start_drip(slow, CHANNELS[0])
    check_refused(receiver, "not done within --max-time", 80 * PAGE)
    for peer in (main, one, slow):
        peer.close()


def test_m59_flood_of_connections(receive):
    """10 000 connections, hundreds of them at once; then one that means it."""
    raise_descriptor_limit()
    receiver = receive(*TWO, uri="tcp:127.0.0.1:0")
    host, port = receiver.uri.split(":", 1)[1].rsplit(":", 1)
    held = []
    for i in range(10000):
        held.append(socket.create_connection((host, int(port)), 60))
        if i % 3 == 0:
            held[-1].sendall(hello(0)[:20])
        if len(held) > 300:
            held.pop(0).close()
    send_good(receiver.uri)
    for one in held:
        one.close()
    check_received(receiver, RAM)  # and its memory


def test_m63_channel_of_another_migration(receive):
    """The first that came says whose migration this is."""
    receiver = receive(*TWO)
    main = Peer(receiver.uri, MAIN)
    first = Peer(receiver.uri, hello(0, OWNER) + CHANNELS[0]).end()
    assert Peer(receiver.uri, hello(1, OTHER) + CHANNELS[1]).is_dropped()
    second = Peer(receiver.uri, hello(1, OWNER) + CHANNELS[1]).end()
    main.hear()
    check_received(receiver, RAM)
    for peer in (main, first, second):
        peer.close()


def test_m63_channel_that_differs_from_the_uuid_of_main(receive):
    main = bytes(Stream(configuration=wire.configuration(wire.MACHINE, wire.uuid(OWNER)),
                        start=wire.start(wire.block_list(), wire.flush())))
    receiver = receive(*TWO)
    peers = [Peer(receiver.uri, main), *(Peer(receiver.uri, hello(i, OTHER)) for i in range(2))]
    peers[0].hear()
    check_refused(receiver, "uuid|UUID", 80 * PAGE)
    for peer in peers:
        peer.close()


def interleaved(step):
    return b"".join(wire.GOOD[at:at + step] * 2 for at in range(0, len(wire.GOOD), step))


@pytest.mark.parametrize("step", [7, 100, 5000])
def test_m66_two_streams_interleaved_on_one_socket(refuses, step):
    refuses(interleaved(step), "byte [0-9]+: ", ends=True, opened=step >= 100)


def test_m66_interleaved_from_the_first_byte_on(receive):
    """That begins like nothing at all."""
    receiver = receive()
    assert Peer(receiver.uri, interleaved(1)).is_dropped()
    Peer(receiver.uri, wire.GOOD).hear()
    check_received(receiver)


def test_m66_a_second_stream_behind_the_first(refuses):
    refuses(wire.GOOD + wire.GOOD, "bytes after the end of the stream")
