"""Tests of examples/c, from outside: what they print, and what they answer."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import select
import signal
import socket
import subprocess
import tempfile
import threading

LIMIT = 120


@dataclasses.dataclass
class Context:
    folder: pathlib.Path
    wrap: object  # makes a command run under the checker
    env: dict


def tests():
    return [(n.removeprefix("test_"), f) for n, f in globals().items() if n.startswith("test_")]


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def output(context, name, *arguments):
    command = context.wrap([str(context.folder / name), *arguments])
    done = subprocess.run(command, env=context.env, capture_output=True, text=True, timeout=LIMIT)
    check(done.returncode == 0, f"{name}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def server(context, name, *arguments):
    """Runs a server; yields its port. It must end cleanly at SIGTERM, with nothing on stderr."""
    command = context.wrap([str(context.folder / name), *map(str, arguments)])
    process = subprocess.Popen(command, env=context.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        ready, _, _ = select.select([process.stdout], [], [], LIMIT)
        line = process.stdout.readline() if ready else ""
        check(line.startswith("listening 127.0.0.1:"), f"{name} said {line!r}")
        yield int(line.rpartition(":")[2]), process
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=LIMIT)
        check(process.returncode == 0, f"{name}: status {process.returncode}\n{errors}")
        check(not errors, f"{name} wrote {errors!r}")
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def dial(port):
    return socket.create_connection(("127.0.0.1", port), timeout=LIMIT)


def response(stream, head=False):
    """Reads one response: (status, headers, body)."""
    status = int(stream.readline().split()[1])
    headers = {}
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    body = b"" if head else stream.read(int(headers["content-length"]))
    return status, headers, body


def ask(port, request, head=False):
    """Sends one request on a connection of its own."""
    with dial(port) as connection, connection.makefile("rb") as stream:
        connection.sendall(request)
        answer = response(stream, head)
        if answer[1].get("connection") == "close":
            check(stream.read() == b"", "something came after the last response")
        return answer


def get(port, path, more="", method="GET"):
    request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n"
    return ask(port, request.encode(), method == "HEAD")


@contextlib.contextmanager
def tree():
    with tempfile.TemporaryDirectory() as folder:
        outer = pathlib.Path(folder)
        root = outer / "root"
        (root / "sub").mkdir(parents=True)
        (outer / "secret").write_text("secret")
        (root / "hello.txt").write_text("hello, world")
        (root / "empty").write_text("")
        (root / "sub" / "a b.txt").write_text("spaced")
        (root / "out").symlink_to("../secret")
        (root / "in").symlink_to("sub/a b.txt")
        (root / "big").write_bytes(os.urandom(1 << 20) * 3 + b"tail")
        yield root


def test_hello_says_hello(context):
    check(output(context, "hello") == "hello, a second later\n", "wrong output")


def test_embed_poll_drives_a_loop_inside_poll(context):
    check("5 ticks, 3 posts, 3 answers" in output(context, "embed_poll"), "wrong output")


def test_echo_loop_echoes(context):
    with server(context, "echo_loop") as (port, _):
        with dial(port) as connection:
            connection.sendall(b"ping")
            check(connection.recv(10) == b"ping", "no echo")
            # More than the system buffers: what waits in the server comes back as well.
            data = os.urandom(8 << 20)
            sender = threading.Thread(target=lambda: (connection.sendall(data), connection.shutdown(socket.SHUT_WR)))
            sender.start()
            received = bytearray()
            while piece := connection.recv(1 << 16):
                received += piece
            sender.join()
            check(bytes(received) == data, f"{len(received)} of {len(data)} bytes, or others")
        # One that stays open over the end.
        with dial(port) as connection:
            connection.sendall(b"x")
            check(connection.recv(1) == b"x", "no echo")
            left_open = connection.dup()
    left_open.close()


def test_http_files_serves_files(context):
    with tree() as root, server(context, "http_files", root, "--workers", 2) as (port, _):
        status, headers, body = get(port, "/hello.txt")
        check((status, body) == (200, b"hello, world"), (status, body))
        check(headers["content-type"].startswith("text/plain"), headers)
        check(headers["accept-ranges"] == "none" and "date" in headers, headers)
        check(get(port, "/empty")[::2] == (200, b""), "empty")
        check(get(port, "/sub/a%20b.txt?query")[::2] == (200, b"spaced"), "an encoded path")
        check(get(port, "http://localhost/sub/../hello.txt")[0] == 403, "dots")
        check(get(port, "http://localhost/hello.txt")[0] == 200, "the absolute form")
        check(get(port, "/in")[::2] == (200, b"spaced"), "a link inside")
        check(get(port, "/big")[2] == (root / "big").read_bytes(), "a file of many pieces")
        status, headers, _ = get(port, "/big", method="HEAD")
        check((status, headers["content-length"]) == (200, str((3 << 20) + 4)), headers)


def test_http_files_refuses_politely(context):
    with tree() as root, server(context, "http_files", root) as (port, _):
        for path in ["/none", "/hello.txt/x", "/sub", "/", "/" + "x" * 300]:
            check(get(port, path)[0] == 404, path)
        for path in ["/../secret", "/sub/../../secret", "/%2e%2e/secret", "/..", "/out", "/sub/.%2E/hello.txt"]:
            check(get(port, path)[0] == 403, path)
        # A range may be ignored: the whole comes, and that is what the status says.
        status, _, body = get(port, "/hello.txt", "Range: bytes=0-3\r\n")
        check((status, body) == (200, b"hello, world"), (status, body))
        status, headers, _ = get(port, "/hello.txt", method="DELETE")
        check((status, headers["allow"]) == (405, "GET, HEAD"), headers)
        host = b"Host: x\r\n"
        for bad in [
            b"GET\r\n\r\n",
            b"GET /\r\n\r\n",
            b"nonsense\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + host + b"nocolon\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + host + host + b"\r\n",
            b"GET / HTTP/1.1\r\n" + host + b"A : b\r\n\r\n",
            b"GET /%zz HTTP/1.1\r\n" + host + b"\r\n",
            b"GET /%00 HTTP/1.1\r\n" + host + b"\r\n",
            b"GET /\x00 HTTP/1.1\r\n" + host + b"\r\n",
            b"GET x HTTP/1.1\r\n" + host + b"\r\n",
            b" / HTTP/1.1\r\n" + host + b"\r\n",
        ]:
            check(ask(port, bad)[0] == 400, bad)
        check(ask(port, b"GET / HTTP/2.0\r\n" + host + b"\r\n")[0] == 505, "version")
        check(ask(port, b"GET / HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n")[0] == 501, "body")
        check(ask(port, b"GET / HTTP/1.1\r\nX: " + b"x" * (16 * 1024 - 19))[0] == 431, "a long head")
        check(get(port, "/hello.txt")[0] == 200, "still there")


def test_http_files_keeps_connections(context):
    with tree() as root, server(context, "http_files", root) as (port, _):
        one = b"GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n"
        head = one.replace(b"GET", b"HEAD")
        with dial(port) as connection, connection.makefile("rb") as stream:
            for _ in range(3):
                connection.sendall(one)
                check(response(stream)[2] == b"hello, world", "keep-alive")
            # Several at once, one of them in pieces, an error between them.
            connection.sendall(one + head + one.replace(b"hello", b"nope") + b"\r\n" + one[:20])
            check(response(stream)[0] == 200, "first")
            check(response(stream, head=True)[0] == 200, "second")
            check(response(stream)[0] == 404, "third")
            connection.sendall(one[20:])
            check(response(stream)[2] == b"hello, world", "fourth")
            connection.sendall(one.replace(b"Host", b"Connection: close\r\nHost"))
            check(response(stream)[1]["connection"] == "close", "close")
            check(stream.read() == b"", "closed")
        old = b"GET /hello.txt HTTP/1.0\r\n\r\n"
        check(ask(port, old)[1]["connection"] == "close", "HTTP/1.0")
        with dial(port) as connection, connection.makefile("rb") as stream:
            for _ in range(2):
                connection.sendall(old[:-2] + b"Connection: keep-alive\r\n\r\n")
                check(response(stream)[0] == 200, "HTTP/1.0 with keep-alive")


def test_http_files_sends_large_files_in_pieces(context):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        with open(root / "large", "wb") as file:
            for index in range(32):
                file.write(index.to_bytes(1, "big") * (1 << 20))
                file.seek(1 << 20, os.SEEK_CUR)
            size = file.tell()
            file.truncate(size)
        want = hashlib.sha256((root / "large").read_bytes()).hexdigest()
        with server(context, "http_files", root) as (port, process):
            wrapped = context.wrap(["x"]) != ["x"]
            with dial(port) as connection, connection.makefile("rb") as stream:
                connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
                line = stream.readline()
                check(b"200" in line, line)
                while stream.readline() != b"\r\n":
                    pass
                digest, left = hashlib.sha256(), size
                while left and (piece := stream.read(min(left, 1 << 16))):
                    digest.update(piece)
                    left -= len(piece)
                check(left == 0 and digest.hexdigest() == want, f"{left} bytes are missing, or others came")
            if not wrapped and "ASAN_OPTIONS" not in context.env:
                status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
                peak = int(status.split("VmHWM:")[1].split()[0])
                check(peak < 24 * 1024, f"{peak} KiB for a file of {size >> 20} MiB")


def test_http_files_answers_many_at_once_and_ends_amid_them(context):
    with tree() as root, server(context, "http_files", root, "--workers", 2) as (port, _):
        faults = []

        def client():
            try:
                with dial(port) as connection, connection.makefile("rb") as stream:
                    for _ in range(20):
                        connection.sendall(b"GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n")
                        check(response(stream)[2] == b"hello, world", "wrong body")
            except Exception as error:
                faults.append(error)

        threads = [threading.Thread(target=client) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check(not faults, faults)
        # Connections that are idle, half asked, and half answered when the server ends.
        idle, asking, reading = dial(port), dial(port), dial(port)
        asking.sendall(b"GET /hel")
        reading.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        reading.recv(100)
    for connection in [idle, asking, reading]:
        connection.close()


def test_http_files_says_what_is_wrong(context):
    with tree() as root, server(context, "http_files", root) as (port, _):

        def run(*arguments):
            command = context.wrap([str(context.folder / "http_files"), *map(str, arguments)])
            return subprocess.run(command, env=context.env, capture_output=True, text=True, timeout=LIMIT)

        taken = run(root, "--port", port)
        check(taken.returncode == 1 and "address already in use" in taken.stderr, taken)
        check(run(root / "none").returncode == 1, "a folder that is not there")
        check(run().returncode == 2 and run(root, "--what").returncode == 2, "usage")
