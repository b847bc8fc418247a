"""Real programs on the loop: aiohttp, uvicorn and this project's examples."""

import asyncio
import json
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from aiohttp import web

import libruntime

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples" / "python"


def test_aiohttp_server_and_client() -> None:
    async def hello(request: web.Request) -> web.Response:
        return web.json_response({"name": request.match_info["name"]})

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def talk(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    async def main() -> None:
        app = web.Application(client_max_size=10**8)
        app.add_routes(
            [web.get("/hello/{name}", hello), web.post("/echo", echo), web.get("/talk", talk)]
        )
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        base = f"http://{host}:{port}"
        async with aiohttp.ClientSession() as session:

            async def ask(i: int) -> None:
                async with session.get(f"{base}/hello/{i}") as response:
                    assert await response.json() == {"name": str(i)}

            await asyncio.gather(*(ask(i) for i in range(300)))
            body = bytes(range(256)) * 20_000
            async with session.post(f"{base}/echo", data=body) as response:
                assert await response.read() == body
            async with session.ws_connect(f"{base}/talk") as socket:
                for word in ("one", "two"):
                    await socket.send_str(word)
                    assert await socket.receive_str() == word.upper()
        await runner.cleanup()

    libruntime.run(asyncio.wait_for(main(), 60))  # type: ignore[arg-type,unused-ignore]


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """A small ASGI application: it answers with what it was sent."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": scope["path"].encode() + b" " + body})


def test_uvicorn_serves_an_asgi_app() -> None:
    async def main() -> None:
        config = uvicorn.Config(asgi_app, host="127.0.0.1", port=0, log_level="error")
        server = uvicorn.Server(config)
        serving = asyncio.ensure_future(server.serve())
        while not server.started:
            await asyncio.sleep(0)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

            async def ask(i: int) -> None:
                async with session.post(f"/path/{i}", data=b"x" * i) as response:
                    assert await response.read() == b"/path/%d " % i + b"x" * i

            await asyncio.gather(*(ask(i * 100) for i in range(200)))
        server.should_exit = True
        await serving

    async def limited() -> None:
        await asyncio.wait_for(main(), 60)

    libruntime.run(limited())


def test_uvicorn_by_its_own_loop_option() -> None:
    """`uvicorn --loop libruntime:new_event_loop`, as a user starts it."""
    config = uvicorn.Config(asgi_app, loop="libruntime:new_event_loop")
    assert config.get_loop_factory() is libruntime.new_event_loop


def test_hello_prints_its_greeting() -> None:
    argv = [sys.executable, "-X", "dev", str(EXAMPLES / "hello.py")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("HELLO, LIBRUNTIME\n", "")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for skipped in (".git", "target", "build", "node_modules"):
        (tmp_path / skipped).mkdir()
        (tmp_path / skipped / "file").write_text("not served")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "sub" / "a name, with %20 and ?").write_bytes(b"odd")
    (tmp_path / "large").write_bytes(bytes(range(256)) * 10_000)
    for i in range(50):
        (tmp_path / "sub" / str(i)).write_bytes(b"%d" % i * i)
    return tmp_path


@pytest.mark.parametrize("lie", ["", "changed", "short", "long", "missing"])
def test_fetch_tree_finds_every_difference(tree: Path, lie: str, tmp_path: Path) -> None:
    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tree))

        def do_GET(self) -> None:
            if lie and self.path == "/large":
                if lie == "missing":
                    return self.send_error(404)
                body = (tree / "large").read_bytes()
                body = {"changed": body[:-1] + b"?", "short": body[:-1], "long": body + b"?"}[lie]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return None
            return super().do_GET()

        def log_message(self, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        out = tree.parent / f"{tree.name}.json"
        argv = [sys.executable, str(EXAMPLES / "fetch_tree.py"), "--connections", "10"]
        argv += ["--base", f"http://127.0.0.1:{server.server_port}", "--dir", str(tree)]
        done = subprocess.run([*argv, "--json", str(out)], capture_output=True, text=True)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    report = json.loads(out.read_text())
    assert done.returncode == (1 if lie else 0), done.stderr
    assert report["language"] == "Python" and report["mismatches"] == (1 if lie else 0)
    assert report["requests"] == 53
    if not lie:
        assert report["bytes"] == sum(f.stat().st_size for f in tree.rglob("*") if f.is_file()) - 40
