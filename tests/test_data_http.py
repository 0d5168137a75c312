"""Data behind http and https: one request, and one line for whatever a server does instead of sending the file."""

import contextlib
import gzip
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import torch

from pushforward import cli
from pushforward.data import inspect, load, read_raw
from pushforward.data.files import copies, http
from pushforward.data.files.remote import Remote, remote_files
from pushforward.errors import InputError
from pushforward.files import writing

TABLE = ("a,b\n" + "".join(f"{i % 200},{i / 2}\n" for i in range(240))).encode()
OK = "HTTP/1.1 200 OK"


def answer(body=TABLE, *headers, status=OK, length=None):
    """An answer as a server writes it; ``length`` is what it announces, if not the truth, and 0 for nothing."""
    announced = () if length == 0 else (f"Content-Length: {len(body) if length is None else length}",)
    return "\r\n".join([status, *announced, *headers, "", ""]).encode() + body


def redirect(to, status="302 Found"):
    return answer(b"", f"Location: {to}", status=f"HTTP/1.1 {status}")


def chunked(*parts, end=b"0\r\n\r\n"):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return answer(chunks + end, "Transfer-Encoding: chunked", length=0)


class Web:
    """A server whose every answer is bytes, or a function that is given the connection and a server to wait for."""

    def __init__(self, host="127.0.0.1"):
        self.answers, self.requests, self.closing = {}, [], threading.Event()
        web = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                with contextlib.suppress(OSError):
                    head = [self.rfile.readline().decode()]
                    while (line := self.rfile.readline()) not in (b"\r\n", b""):
                        head.append(line.decode())
                    if not head[0]:  # connected, and gone again
                        return
                    web.requests.append(head)
                    reply = web.answers[head[0].split()[1]]
                    reply(self.wfile) if callable(reply) else self.wfile.write(reply)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = allow_reuse_address = True

            def handle_error(self, request, client_address):
                pass

        self.server = Server((host, 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def __call__(self, reply, path="/t.csv", host="127.0.0.1"):
        """The URL of that answer."""
        self.answers[path] = reply
        return f"http://{host}:{self.port}{path}"

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def web(monkeypatch, tmp_path):
    """A server, a process that has no copies, and a folder for them of which nothing is left but whole copies."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    for name in ("_COPIES", "_FOLDERS"):
        monkeypatch.setattr(copies, name, {})
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Web()
    yield server
    server.close()
    left = sorted(p for p in (tmp_path / "temporary").rglob("*") if p.is_file())
    assert left == sorted(copies._COPIES.values())


def forget():
    """Be a process without copies again."""
    for path in copies._COPIES.values():
        path.unlink()
    copies._COPIES.clear()


def refused(url, seconds=5.0):
    """The one line that ``load`` ends in, soon."""
    start = time.monotonic()
    with pytest.raises(InputError) as caught:
        load(url)
    assert time.monotonic() - start < seconds
    line = str(caught.value)
    assert line.startswith(f"{url}: ") and "\n" not in line and len(line) < 400
    return line.removeprefix(f"{url}: ")


# ---- one request


def test_one_request_however_often_it_is_read(web, capsys):
    url = web(answer())
    data = load(url)
    assert len(data) == 240 and data.name == "t"
    assert data.notes == (f"fetched {url} (2.0 kB) into a temporary copy, which this process reads",)
    assert load(url).notes == () and inspect(url).shape == (240, 2) and len(read_raw(url).rows) == 240
    assert [head[0] for head in web.requests] == ["GET /t.csv HTTP/1.1\r\n"]
    assert "Accept-Encoding: identity\r\n" in web.requests[0]

    forget()
    cli.main(["inspect", url])
    out, err = capsys.readouterr()
    assert "240 rows" in out and f"note: fetched {url}" in out and err == "" and len(web.requests) == 2


def test_a_copy_that_somebody_deleted_is_fetched_again(web):
    url = web(answer())
    load(url)
    shutil.rmtree(next(iter(copies._COPIES.values())).parent)
    assert len(load(url)) == 240 and len(web.requests) == 2


def test_the_folder_of_copies_is_private_and_ends_with_its_process(web):
    code = f"""
import stat, tempfile
from pathlib import Path
from pushforward.data import load
load({web(answer())!r})
(folder,) = Path(tempfile.gettempdir()).iterdir()
print(oct(stat.S_IMODE(folder.stat().st_mode)), len(list(folder.iterdir())))
"""
    place = tempfile.gettempdir()
    (Path(place) / f".pushforward.{writing._host()}-{2**30}-killed").mkdir()  # no process has that number
    environment = {"TMPDIR": place, "PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["0o700", "1"], done.stderr
    assert list(Path(place).iterdir()) == []


def test_ctrl_c_leaves_nothing(web, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(copies, "QUIET", -1.0)
    with pytest.raises(KeyboardInterrupt):
        load(web(answer()), progress=interrupt)
    assert copies._COPIES == {}


def test_progress_of_what_takes_long(web, monkeypatch):
    monkeypatch.setattr(copies, "QUIET", -1.0)
    heard = []
    load(web(answer()), progress=lambda share, words: heard.append((share, words)))
    assert heard[-1] == (1.0, f"fetched {len(TABLE) / 1000:.1f} kB of {len(TABLE) / 1000:.1f} kB")


@pytest.mark.parametrize(
    "reply",
    [
        chunked(TABLE[:7], TABLE[7:1000], TABLE[1000:]),
        answer(length=0),
        answer(gzip.compress(TABLE), "Content-Encoding: gzip"),
        answer(gzip.compress(TABLE[:9]) + gzip.compress(TABLE[9:]), "Content-Encoding: x-gzip"),
        answer(TABLE, "Content-Encoding: identity"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(),
    ],
    ids=["chunked", "to the end", "gzip", "two members", "identity", "continue"],
)
def test_bodies_of_every_kind(web, reply):
    assert torch.equal(load(web(reply)).x, load(web(answer(), "/plain.csv")).x)


def test_names_passwords_and_addresses_as_they_are_written(web):
    url = web(answer(), "/a%20b/%C3%A9.csv?x=1.5&y=*").replace("%20", " ").replace("%C3%A9", "é")
    url = url.replace("//", "//me:p%40ss@")
    assert load(url).name == "é"
    assert "Authorization: Basic bWU6cEBzcw==\r\n" in web.requests[0]  # me:p@ss
    assert Remote("http://[::1]:8000/t.csv").suffix == ".csv"


def test_the_proxy_of_the_environment_is_heeded(web, monkeypatch):
    monkeypatch.setenv("http_proxy", web(b"")[:-6])
    web(answer(), "http://data.invalid/t.csv")
    assert len(load("http://data.invalid/t.csv")) == 240
    assert web.requests[0][0] == "GET http://data.invalid/t.csv HTTP/1.1\r\n"


# ---- servers that do not send the file

WRONG = {
    "cut short": (answer(TABLE[:500], length=len(TABLE)), f"cut short: 500 of {len(TABLE):,} bytes came; try again"),
    "more than announced": (answer(length=100), "the server sends more than the 100 bytes that it announces"),
    "no length": (answer(TABLE, length="many"), "announces no usable length"),
    "two lengths": (answer(TABLE, "Content-Length: 7"), "announces no usable length"),
    "negative length": (answer(TABLE, length=-1), "announces no usable length"),
    "chunk cut short": (chunked(TABLE[:100], end=b"fff\r\nabc"), "cut short after 103 bytes"),
    "no last chunk": (chunked(TABLE, end=b""), f"cut short after {len(TABLE):,} bytes"),
    "garbled chunks": (chunked(TABLE[:100], end=b"zz\r\n"), "garbled after 100 bytes"),
    "chunk without end": (chunked(TABLE[:9], end=b"2\r\nabcd\r\n0\r\n\r\n"), "garbled after 11 bytes"),
    "unknown coding": (answer(TABLE, "Transfer-Encoding: gzip, chunked"), "sends it as 'gzip, chunked'"),
    "garbage": (b"\x00\xffgarbage\r\n\r\n", "the connection broke"),
    "nothing": (b"", "the connection broke"),
    "other protocol": (b"SSH-2.0-OpenSSH_9.6\r\n", "the connection broke"),
    "long line": (OK.encode() + b"\r\nX: " + b"a" * 10**5, "the connection broke (got more than 65536 bytes"),
    "404": (answer(b"", status="HTTP/1.1 404 Not Found"), "the server answers 404 Not Found; check the address"),
    "403": (answer(b"", status="HTTP/1.1 403 Forbidden"), "the server answers 403 Forbidden; give access"),
    "500": (answer(b"", status="HTTP/1.1 500 \x1b[2J"), "the server answers 500 ?[2J; try again later"),
    "206": (answer(status="HTTP/1.1 206 Partial Content"), "the server answers 206 Partial Content; give"),
    "brotli": (answer(TABLE, "Content-Encoding: br"), "the server packs it as 'br', unasked"),
    "no gzip": (answer(TABLE, "Content-Encoding: gzip"), "cannot be read (Error -3"),
    "gzip cut short": (answer(gzip.compress(TABLE)[:-9], "Content-Encoding: gzip"), "cut short: what was packed"),
    "empty gzip": (answer(b"", "Content-Encoding: gzip"), "cut short: what was packed"),
    "empty": (answer(b""), "the file is empty"),
    "page": (answer(b"\n<!DOCTYPE html>\n1\n", "Content-Type: text/html; charset=utf-8"), "sends a web page"),
}


@pytest.mark.parametrize("case", WRONG)
def test_every_failure_is_one_line(web, case):
    reply, words = WRONG[case]
    assert words in refused(web(reply))


def test_an_address_at_which_nobody_answers(web):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert "cannot be reached" in refused(f"http://127.0.0.1:{port}/t.csv")
    assert "names no host" in refused("http:///t.csv")
    assert refused("http://127.0.0.1:port/t.csv") and refused("http://[::1/t.csv")
    assert "cannot be listed over http" in refused(f"http://127.0.0.1:{port}/*.csv")


def test_silence_ends(web, monkeypatch):
    monkeypatch.setattr(http, "SILENCE", 0.2)
    words = "the server sent nothing for 0.2 s; try again, or fetch the file yourself and give its path"
    for begin in (b"", OK.encode()[:9], answer(TABLE[:5], length=100)):
        assert refused(web(lambda file, begin=begin: (file.write(begin), web.closing.wait(9)))) == words


def drip(web, before, byte, pause=0.02):
    def reply(file):
        file.write(before)
        while not web.closing.wait(pause):
            file.write(byte)

    return reply


def test_dripping_ends(web, monkeypatch):
    monkeypatch.setattr(http, "WINDOW", 0.3)
    slow = "fewer than 1,000 bytes a second came over 0.3 s"
    head = answer(b"", length=10**6)
    for before, byte in ((head, b"1"), (b"", b"H"), (head[:-2], b"X"), (chunked(TABLE, end=b"1;"), b"x")):
        assert slow in refused(web(drip(web, before, byte)))


def test_what_never_ends_does(web, monkeypatch):
    monkeypatch.setattr(copies, "LARGEST", 10**6)
    large = "larger than the 1.0 MB that are fetched unasked"
    block = b"1" * 2**16
    assert large in refused(web(drip(web, answer(b"", length=0), block, 0)))
    assert large in refused(web(drip(web, chunked(TABLE, end=b""), b"ffff\r\n" + block[:-1] + b"\r\n", 0)))
    assert large in refused(web(answer(b"", length=2 * 10**6)))  # before anything is read
    # heads and what is between chunks
    assert "without end" in refused(web(drip(web, b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 999, 0)))
    ends = refused(web(drip(web, chunked(end=b""), b"1;" + b"x" * 900 + b"\r\na\r\n", 0)))
    assert "without end" in ends
    empty = gzip.compress(b"")
    assert "without end" in refused(web(drip(web, answer(b"", "Content-Encoding: gzip", length=0), empty * 99, 0)), 20)


def test_a_bomb_is_not_unpacked(web, monkeypatch):
    monkeypatch.setattr(copies, "LARGEST", 2**22)
    bomb = gzip.compress(bytes(2**26))
    assert len(bomb) < 10**5
    assert "larger than the 4.2 MB" in refused(web(answer(bomb, "Content-Encoding: gzip")))


def test_a_packed_file_stays_packed(web):
    packed = gzip.compress(TABLE)
    url = web(answer(packed, "Content-Encoding: gzip"), "/t.csv.gz")
    assert copies.copy_of(url).read_bytes() == packed


def test_a_full_disk(web, monkeypatch):
    url = web(answer())
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(copies.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert "no room for a temporary copy: 1.0 kB are free" in refused(url)
    monkeypatch.setattr(copies, "STEP", 100)
    monkeypatch.setattr(copies.shutil, "disk_usage", lambda _: usage._replace(free=99))
    assert "no room for a temporary copy: 99 bytes are free" in refused(web(answer(length=0)))
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    monkeypatch.setattr(copies, "_FOLDERS", {})
    assert "no temporary copy can be kept (No such file or directory); set TMPDIR" in refused(web(answer(), "/x.csv"))


# ---- redirects


def test_redirects_are_followed_a_few_times(web):
    web(answer(), "/4.csv")
    for i in range(4):
        web(redirect(f"/{i + 1}.csv", "307 Temporary Redirect"), f"/{i}.csv")
    assert len(load(web(redirect("0.csv")))) == 240 and len(web.requests) == 6
    assert "redirected more than 5 times" in refused(web(redirect("/loop.csv"), "/loop.csv"))
    assert "redirected without an address" in refused(web(answer(b"", status="HTTP/1.1 301 Moved"), "/moved.csv"))


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/t.csv", "data:text/csv,a", "memory://t.csv"])
def test_redirects_stay_on_the_web(web, target):
    assert "redirected from http to" in refused(web(redirect(target)))


def test_a_redirect_with_an_endless_page_is_not_read(web):
    web(answer(), "/there.csv")
    assert (
        len(load(web(drip(web, answer(b"", "Location: /there.csv", status="HTTP/1.1 302 F", length=0), b"a", 0))))
        == 240
    )


def test_redirects_from_outside_do_not_lead_inside(web, monkeypatch):
    here = web(redirect(f"http://localhost:{web.port}/inside.csv"))
    web(answer(), "/inside.csv")
    assert len(load(here)) == 240  # one's own servers may point to each other
    forget()
    monkeypatch.setattr(http, "is_public", lambda host: host != "127.0.0.2")
    aside = Web("127.0.0.2")  # the name says nothing: the address to which it leads is judged
    monkeypatch.setattr(http.socket, "create_connection", by_name(aside.port))
    try:
        target = aside(answer(), "/inside.csv").replace("127.0.0.1", "elsewhere.example")
        assert "redirected to an address of this machine or its network (127.0.0.2)" in refused(web(redirect(target)))
        assert aside.requests == []
    finally:
        aside.close()


def by_name(port, connect=socket.create_connection):
    """`socket.create_connection` where elsewhere.example is 127.0.0.2."""
    return lambda to, *how: connect(("127.0.0.2", port) if to[0] == "elsewhere.example" else to, *how)


@pytest.mark.parametrize(
    ("here", "location", "guarded", "result"),
    [
        ("https://a.example/x/y.csv", "z.csv", True, "https://a.example/x/z.csv"),
        ("https://a.example/y.csv", "//b.example/z.csv", True, "https://b.example/z.csv"),
        ("http://a.example/y.csv", "HTTPS://b.example/\xc3\xa9 z.csv", True, "https://b.example/%C3%A9%20z.csv"),
        ("http://a.example/y.csv", "http://10.1.2.3/z.csv", False, "http://10.1.2.3/z.csv"),
        ("https://a.example/y.csv", "http://a.example/y.csv", False, None),
        ("http://a.example/y.csv", "file:///etc/passwd", False, None),
        ("http://a.example/y.csv", "http://10.1.2.3/z.csv", True, None),
        ("http://a.example/y.csv", "http://localhost:8000/z.csv", True, None),
        ("http://a.example/y.csv", "http://[::1]/z.csv", True, None),
        ("http://a.example/y.csv", "http:///z.csv", True, "http://a.example/z.csv"),
    ],
)
def test_redirects_are_judged(here, location, guarded, result):
    if result is None:
        with pytest.raises(http.Refusal, match="redirected"):
            http.check_redirect(here, location, guarded)
    else:
        assert http.check_redirect(here, location, guarded).lower() == result.lower()


INSIDE = "localhost LOCALHOST. a.localhost 127.0.0.1 127.9.9.9 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 0.0.0.0"
INSIDE += " 100.64.0.1 224.0.0.1 [::1] :: fe80::1%eth0 fd00::1 ::ffff:127.0.0.1 2002:7f00:1:: ff02::1"


def test_addresses_inside_and_outside():
    assert [name for name in INSIDE.split() if http.is_public(name)] == []
    assert all(map(http.is_public, ["a.example", "8.8.8.8", "2606:4700::1111", "[2606:4700::1111]", "::ffff:8.8.8.8"]))


# ---- TLS


CERTIFICATE = Path(__file__).parent / "recorded" / "localhost.pem"  # of 127.0.0.1, signed by nobody


def test_tls_is_checked_and_kept(web, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    plain = web(answer(), "/plain.csv")
    assert "cannot be reached ([SSL" in refused(plain.replace("http", "https", 1))

    safe = Web()
    safe.server.socket = context.wrap_socket(safe.server.socket, server_side=True)
    try:
        url = safe(answer()).replace("http", "https", 1)
        assert "certificate verify failed" in refused(url) and safe.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        assert len(load(url)) == 240 and len(safe.requests) == 1
        assert len(load(web(redirect(url)))) == 240
        url = safe(redirect(plain), "/down.csv").replace("http", "https", 1)
        assert "redirected from https to http" in refused(url) and web.requests[-1][0].startswith("GET /t.csv")
    finally:
        safe.close()


# ---- files of this machine


def test_files_of_this_machine_are_read_where_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(copies, "_COPIES", {})
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_bytes(TABLE)
    assert remote_files(f"file://{tmp_path}/a.csv") == [tmp_path / "a.csv"]
    assert len(load(f"file://{tmp_path}/*.csv")) == 480 and copies._COPIES == {}
    assert load(f"file://{tmp_path}/a.csv").notes == ()
    for name, words in (("none.csv", "no such file"), ("x*.csv", "no file has a name like this"), ("", "no such file")):
        assert words in refused(f"file://{tmp_path}/{name}")
