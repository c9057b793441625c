"""Clients that are slow, silent or gone are cut off in bounded time, and leave nothing behind."""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import struct
import time
from collections.abc import Iterator

import orjson
import pytest

from harness.spec.serving import Limits
from tests.serve.running import Running, all_of, answer_of, comes_true, open_files, running, trickled

# Each test makes one of these short; the others must be too long to be what ended it.
LONG = {"header_seconds": 600, "body_seconds": 600, "idle_seconds": 600, "write_seconds": 600, "body_bytes": 4096}
GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    """A server with the limits that the test's parameter shortens."""
    with running(Limits(**{**LONG, **getattr(request, "param", {})})) as one:
        yield one


def short(**limits: float) -> pytest.MarkDecorator:
    """The limits that a test shortens."""
    return pytest.mark.parametrize("server", [limits], indirect=True, ids=["-".join(limits)])


def error_of(answer: bytes) -> dict:
    """The error in an answer's body."""
    error: dict = orjson.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


@short(header_seconds=0.3)
def test_headers_that_trickle_are_cut_off(server: Running) -> None:
    """A header that grows by a byte now and then ends with its deadline: no byte buys more time."""
    with server.connect() as client:
        client.sendall(b"GET /health HTTP/1.1\r\nX-Slow: ")
        assert trickled(client, b"a") == b""
    assert server.healthy()


@short(header_seconds=0.3)
def test_headers_of_a_second_request_are_cut_off_too(server: Running) -> None:
    """On a connection that was used before, the headers of the next request have the same deadline."""
    with server.connect() as client:
        client.sendall(GET % b"health")
        assert b"fine" in answer_of(client)
        client.sendall(b"GET /health HTTP/1.1\r\nX-Slow: ")
        assert trickled(client, b"a") == b""


@short(header_seconds=0.3)
def test_headers_sent_ahead_are_cut_off_too(server: Running) -> None:
    """Half a header that was sent together with the request before it is not taken for silence."""
    with server.connect() as client:
        client.sendall(GET % b"health" + b"GET /hea")
        assert b"fine" in all_of(client)


@short(header_seconds=0.3)
def test_two_hundred_silent_connections_leave_nothing(server: Running) -> None:
    """Connections that say nothing are closed, and no task and no descriptor remains of them."""
    tasks, files = server.tasks(), open_files()
    clients = [server.connect() for _ in range(200)]
    assert all(client.recv(1) == b"" for client in clients)
    for client in clients:
        client.close()
    assert server.healthy()
    assert comes_true(lambda: server.connections() == 0 and server.tasks() <= tasks and open_files() <= files)


@short(idle_seconds=0.3)
def test_an_idle_connection_is_closed(server: Running) -> None:
    """A connection on which nothing follows an answer is closed."""
    with server.connect() as client:
        client.sendall(GET % b"health")
        assert all_of(client).endswith(b"fine")


@short(idle_seconds=0.3)
def test_a_connection_whose_body_came_late_is_idle_too(server: Running) -> None:
    """The rest of a body that was answered early is taken, the connection goes on, and silence then closes it."""
    with server.connect() as client:
        client.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
        assert answer_of(client).endswith(b"early")
        client.sendall(b"cd" + GET % b"health")
        assert answer_of(client).endswith(b"fine")
        client.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
        assert answer_of(client).endswith(b"early")
        client.sendall(b"cd")
        assert all_of(client) == b""


@short(header_seconds=0.3)
def test_the_rest_of_a_body_nobody_waits_for_is_cut_off(server: Running) -> None:
    """A body that goes on dripping after its answer does not keep the connection."""
    with server.connect() as client:
        client.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n")
        assert trickled(client, b"a").endswith(b"early")


@short(body_seconds=0.3)
def test_a_body_that_trickles_is_a_408(server: Running) -> None:
    """A body that is not complete in time is answered with 408 in the one shape of error, and the connection ends."""
    with server.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n")
        answer = trickled(client, b"a")
    assert answer.startswith(b"HTTP/1.1 408")
    assert error_of(answer)["code"] == "body_too_slow"


def test_a_body_announced_too_large_is_refused_unread(server: Running) -> None:
    """A content length above the limit is a 413 before a byte of the body was sent; so is any absurd one."""
    for length in (b"4097", b"9" * 400):
        with server.connect() as client:
            client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\n")
            answer = answer_of(client)
        assert answer[9:12] in (b"413", b"400"), answer
        assert "message" in error_of(answer)


def test_a_body_that_turns_out_too_large_is_refused(server: Running) -> None:
    """A chunked body, which announces no length, is a 413 once it is above the limit; one at the limit is read."""
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with server.connect() as client:
        client.sendall(head + b"1000\r\n" + b"x" * 4096 + b"\r\n0\r\n\r\n")
        assert answer_of(client).endswith(b"4096")
        client.sendall(head + b"1001\r\n" + b"x" * 4097 + b"\r\n0\r\n\r\n")
        answer = answer_of(client)
    assert answer.startswith(b"HTTP/1.1 413")
    assert error_of(answer)["code"] == "body_too_large"


def test_a_client_that_asks_first_is_told_before_it_sends(server: Running) -> None:
    """With ``Expect: 100-continue`` a body too large is refused at once, and one that fits is asked for."""
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: "
    with server.connect() as client:
        client.sendall(head + b"4097\r\n\r\n")
        assert answer_of(client).startswith(b"HTTP/1.1 413")
    with server.connect() as client:
        client.sendall(head + b"3\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 100")
        client.sendall(b"abc")
        assert answer_of(client).endswith(b"3")


def test_a_large_upload_can_read_its_refusal(server: Running) -> None:
    """A client that sends all of its 10 MB before it reads still gets the 413: the connection is not reset on it."""
    with server.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n")
        client.sendall(b"x" * 10_000_000)
        assert answer_of(client).startswith(b"HTTP/1.1 413")


def test_a_body_that_breaks_off_ends_its_request(server: Running) -> None:
    """A client that goes away in the middle of its body leaves no task."""
    tasks = server.tasks()
    with server.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\nabc")
        assert comes_true(lambda: server.connections() == 1)
    assert comes_true(lambda: server.connections() == 0 and server.tasks() <= tasks)


@short(write_seconds=0.3)
def test_a_stream_that_nobody_reads_is_cut_off(server: Running) -> None:
    """A client that asks for a stream and never reads it is cut off, and what makes the stream is stopped."""
    tasks = server.tasks()
    with server.connect(receive_buffer=4096) as client:
        client.sendall(GET % b"stream")
        assert comes_true(lambda: len(server.streams) == 1)
        assert server.streams[0].wait(20)
        assert comes_true(lambda: server.connections() == 0 and server.tasks() <= tasks)


@short(write_seconds=0.3)
def test_an_answer_that_nobody_reads_is_cut_off(server: Running) -> None:
    """The same holds for one long answer, several asked for at once, and one that ends its connection."""
    for asked in (GET % b"big", 3 * (GET % b"big"), b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):
        with server.connect(receive_buffer=4096) as client:
            client.sendall(asked)
            assert comes_true(lambda: server.connections() == 1)
            assert comes_true(lambda: server.connections() == 0)


def test_the_last_bytes_are_watched_too() -> None:
    """A client that leaves so little unread that the writer does not even wait for it is cut off all the same."""
    with running(Limits(**{**LONG, "write_seconds": 0.3}), send_buffer=32_768) as server:
        left: list[int] = []
        for server.size in range(16_384, 2**22, 16_384):
            with server.connect(receive_buffer=4096) as client:
                client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert comes_true(lambda: server.bigs.pop() if server.bigs else False)
                left = [size for size in server.unread() if size]
                if left:
                    assert comes_true(lambda: server.connections() == 0)
                    break
        assert 0 < left[0] < 65_536


@pytest.mark.parametrize("connection", [b"close", b"keep-alive"])
@short(write_seconds=1.0, idle_seconds=0.3)
def test_a_slow_reader_that_reads_gets_everything(server: Running, connection: bytes) -> None:
    """A reader that needs far longer than the limits for the whole, but always goes on, is not cut off."""
    with server.connect(receive_buffer=65_536) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: " + connection + b"\r\n\r\n")
        size = 0
        while part := client.recv(65_536):
            size += len(part)
            time.sleep(0.015)
    assert size > server.size


def test_a_half_closed_stream_is_given_up(server: Running) -> None:
    """A client that closes its sending side has left, as far as HTTP servers are concerned: its stream stops."""
    with server.connect() as client:
        client.sendall(GET % b"stream")
        assert client.recv(1)
        client.shutdown(socket.SHUT_WR)
        assert server.streams[0].wait(20)
    with server.connect() as client:
        client.sendall(b"GET /heal")
        client.shutdown(socket.SHUT_WR)
        assert all_of(client) == b""


def test_abandoned_streams_stop(server: Running) -> None:
    """Fifty clients that read a little and vanish leave no task, no connection and no descriptor."""
    tasks, files = server.tasks(), open_files()
    for _ in range(50):
        with server.connect() as client:
            client.sendall(GET % b"stream")
            assert client.recv(10)
    assert comes_true(lambda: len(server.streams) == 50 and all(each.is_set() for each in server.streams))
    assert comes_true(lambda: server.connections() == 0 and server.tasks() <= tasks and open_files() <= files)


def _misbehave(server: Running, draw: random.Random) -> None:
    """One client that does some of what clients do, in any order, and leaves in some way."""
    said = (
        GET % b"health", GET % b"stream", GET % b"big", GET % b"early", b"GET /hea", b"\r\n\r\n", b"x" * 300,
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", b"0123456789", b"zz\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nabcde\r\n", b"0\r\n\r\n",
        b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
    )  # fmt: skip
    client = server.connect(receive_buffer=draw.choice([4096, 65_536]))
    client.settimeout(0.05)
    for _ in range(draw.randint(0, 6)):
        with contextlib.suppress(OSError):
            if draw.random() < 0.7:
                client.sendall(draw.choice(said))
            else:
                client.recv(draw.choice([1, 100, 65_536]))
    with contextlib.suppress(OSError):
        if draw.random() < 0.3:
            client.shutdown(socket.SHUT_WR)
        if draw.random() < 0.3:
            # Closing becomes a reset.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if draw.random() < 0.3:
        server.kept.append(client)
    else:
        client.close()


@short(header_seconds=0.3, body_seconds=0.3, idle_seconds=0.3, write_seconds=0.3)
def test_nothing_remains_of_three_hundred_random_clients(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever clients send, read, half-close, reset or keep open: no task, connection or descriptor is left."""
    tasks, files = server.tasks(), open_files()
    draw = random.Random(7)
    for _ in range(300):
        _misbehave(server, draw)
    assert comes_true(lambda: server.connections() == 0 and all(each.is_set() for each in server.streams))
    for client in server.kept:
        client.close()
    assert comes_true(lambda: server.tasks() <= tasks and open_files() <= files)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert server.healthy()


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"NOT HTTP\r\n\r\n",
        b"GET / HTTP/1.1\r\nHo st: x\r\n\r\n",
    ],
    ids=["tls", "words", "header"],
)
def test_what_is_not_http_is_answered_as_an_error(server: Running, said: bytes) -> None:
    """Bytes that are not HTTP get a 400 in the one shape of error, and the connection is closed."""
    with server.connect() as client:
        client.sendall(said)
        answer = all_of(client)
    assert answer.startswith(b"HTTP/1.1 400")
    assert error_of(answer)["type"] == "invalid_request_error"


def test_headers_without_end_are_refused(server: Running) -> None:
    """Headers of a megabyte are a 400: they are not collected."""
    with server.connect() as client:
        client.sendall(b"GET /health HTTP/1.1\r\n")
        for _ in range(16):
            try:
                client.sendall(b"X: " + b"a" * 65_536 + b"\r\n")
            except ConnectionError:
                break
        assert all_of(client)[9:12] in (b"400", b"")
    assert comes_true(lambda: server.connections() == 0)


@pytest.mark.parametrize("path", [b"echo", b"stream"])
def test_garbage_in_a_body_ends_the_connection_quietly(
    server: Running, path: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken chunk, before or after the answer has begun, ends the connection and logs no failure of ours."""
    with server.connect() as client:
        client.sendall(b"POST /" + path + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert comes_true(lambda: server.connections() == 1)
        if path == b"stream":
            assert client.recv(1)
        client.sendall(b"zz\r\nnot a chunk\r\n")
        all_of(client)
    assert comes_true(lambda: server.connections() == 0 and all(each.is_set() for each in server.streams))
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert server.healthy()
