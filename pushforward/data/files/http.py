"""One file over HTTP: a single GET, bounded in time and in bytes, redirects judged before they are followed.

The standard library's client, which heeds the proxies of the environment. What it reads of a body is in `transfer`.
"""

from __future__ import annotations

import base64
import io
import ipaddress
import re
import socket
import string
import time
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, InvalidURL
from typing import Any
from urllib.error import URLError
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from pushforward.data.files.transfer import Refusal, open_body
from pushforward.errors import InputError, one_line
from pushforward.version import __version__

__all__ = ["check_redirect", "is_public", "open_http"]

CONNECT = 30.0  # seconds in which a connection must stand
SILENCE = 30.0  # seconds in which at least one byte must come
WINDOW, SLOWEST = 60.0, 1000  # seconds of waiting over which fewer bytes a second are too few
LINGER = 0.5  # seconds in which a server closes after the last byte, or shows that there are more
REDIRECTS = 5
HEAD = 2**18  # bytes of status lines and headers
FOLLOWED = (301, 302, 303, 307, 308)
_HINTS = {401: "give access", 403: "give access", 404: "check the address", 410: "check the address"}


@contextmanager
def open_http(url: str, most: int) -> Iterator[tuple[int | None, Iterator[bytes]]]:
    """GET the file at an http or https URL: the size that is announced, if one is, and its blocks, to be read once.

    Redirects are followed at most five times, never from https to http, and never from a public host to an address of
    this machine or its network. Twice ``most`` bytes are read at most; whoever takes the blocks bounds what they unpack
    to. InputError, in the block too, for anything but the whole file.
    """
    with _in_one_line(url):
        response = _follow(url)
    with response:
        with _in_one_line(url):
            _check_status(response)
            response.reader.left = 2 * most + HEAD  # what a chunk is announced by counts too
            path = urlsplit(url).path
            size, blocks = open_body(response.headers, response.stream, response.has_more, path)
        yield size, _each(url, blocks)


@contextmanager
def _in_one_line(url: str) -> Iterator[None]:
    """Turn whatever a server or the network does into an InputError that names the URL."""
    try:
        yield
    except Refusal as error:
        raise InputError(f"{url}: {error}") from error
    except TimeoutError as error:
        words = f"the server sent nothing for {SILENCE:g} s; try again, or fetch the file yourself and give its path"
        raise InputError(f"{url}: {words}") from error
    except URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise InputError(f"{url}: no connection within {CONNECT:g} s; check the address, or try again") from error
        reason = error.reason if isinstance(error.reason, Exception) else error
        raise InputError(f"{url}: cannot be reached ({one_line(reason)}); check the address") from error
    except (ValueError, InvalidURL, zlib.error) as error:
        raise InputError(f"{url}: cannot be read ({one_line(error)}); check the address") from error
    except (OSError, HTTPException) as error:
        raise InputError(f"{url}: the connection broke ({one_line(error)}); try again") from error


def _each(url: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
    with _in_one_line(url):
        yield from blocks


# ---- connections


class _PacedReader(io.RawIOBase):
    """Bytes of a socket, of which neither too many nor too few may come."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw, self.left = raw, HEAD
        self._waited, self._came = 0.0, 0  # of this window

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read once from the socket, whose own time-out ends silence."""
        before = time.monotonic()
        count: int | None = self._raw.readinto(buffer)
        self._waited += time.monotonic() - before
        self._came += count or 0
        self.left -= count or 0
        if self.left < 0:
            raise Refusal("the server sends without end; fetch the file yourself and give its path")
        if self._waited > WINDOW:
            if self._came < SLOWEST * self._waited:
                slow = f"fewer than {SLOWEST:,} bytes a second came over {WINDOW:g} s"
                raise Refusal(f"{slow}; try again, or fetch the file yourself and give its path")
            self._waited, self._came = 0.0, 0
        return count

    def close(self) -> None:
        """Let go of the socket."""
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    """An answer whose every byte is counted, the head included."""

    public = True  # whether it came from outside of this machine's network

    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        sock.settimeout(SILENCE)
        self.peer, self._socket = str(sock.getpeername()[0]), sock
        self.reader = _PacedReader(self.fp.detach())
        self.stream = self.fp = io.BufferedReader(self.reader, 2**16)

    def has_more(self) -> bool:
        """Whether bytes come after what should have been the last one."""
        self._socket.settimeout(LINGER)
        with suppress(OSError):
            return bool(self.stream.read(1))
        return False


class _Connection(HTTPConnection):
    """A connection that closes before anything is sent, where a redirect may not lead to its address."""

    response_class = _Response
    guarded = False

    def connect(self) -> None:
        """Connect, and judge the address that the name was resolved to."""
        super().connect()
        # not the addresses that were resolved before: a name can have others a moment later
        if self.guarded and not is_public(address := str(self.sock.getpeername()[0])):
            raise Refusal(f"redirected to an address of this machine or its network ({address}); not followed")


class _GuardedConnection(_Connection):
    guarded = True


class _TLSConnection(HTTPSConnection, _Connection):  # in this order TLS begins after `_Connection.connect`
    pass


class _GuardedTLSConnection(HTTPSConnection, _GuardedConnection):
    pass


class _Handler(urllib.request.AbstractHTTPHandler):
    """Opens http and https; answers of any status are handed back."""

    def __init__(self, guarded: bool) -> None:
        super().__init__()
        self._guarded = guarded

    def http_open(self, request: urllib.request.Request) -> Any:
        """Ask over a plain connection."""
        guarded = self._guarded and is_direct(request)
        return self.do_open(_GuardedConnection if guarded else _Connection, request)

    def https_open(self, request: urllib.request.Request) -> Any:
        """Ask over TLS."""
        guarded = self._guarded and is_direct(request)
        return self.do_open(_GuardedTLSConnection if guarded else _TLSConnection, request)

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_


def is_direct(request: urllib.request.Request) -> bool:
    """Whether a request goes to the host that its URL names, rather than to a proxy, whose address says nothing."""
    return request.host == urlsplit(request.full_url).netloc


def is_public(host: str) -> bool:
    """Tell whether a host lies outside of this machine and its network, by its address; names but localhost do."""
    name = host.strip("[]").rstrip(".").partition("%")[0].lower()
    if name == "localhost" or name.endswith(".localhost"):
        return False
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return True
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address.sixtofour or address
    return address.is_global and not address.is_multicast


# ---- asking


def _follow(url: str) -> _Response:
    """The answer at the end of the redirects from ``url``."""
    here, guarded = url, False
    for _ in range(REDIRECTS + 1):
        response = _get(here, guarded)
        if response.status not in FOLLOWED:
            return response
        response.close()  # whatever it says besides is not read
        guarded = guarded or response.public
        here = check_redirect(here, response.headers.get("Location"), guarded)
    raise Refusal(f"redirected more than {REDIRECTS} times; give the address of the file itself")


def check_redirect(here: str, location: str | None, guarded: bool) -> str:
    """Return the URL that a redirect leads to; Refusal for another kind of address.

    From https only to https, from http to either; if ``guarded``, because a public host was asked, never to this
    machine or its network.
    """
    if not location:
        raise Refusal("redirected without an address")
    target = urljoin(here, quote(location, safe=string.punctuation, encoding="iso-8859-1"))
    before, after = (urlsplit(each) for each in (here, target))
    if after.scheme not in ("https", before.scheme):
        raise Refusal(f"redirected from {before.scheme} to {after.scheme} ({target[:200]}); not followed")
    if guarded and not is_public(after.hostname or ""):
        raise Refusal(f"redirected to an address of this machine or its network ({target[:200]}); not followed")
    return target


def _get(url: str, guarded: bool) -> _Response:
    """One request, through the proxy of the environment if there is one."""
    parts = urlsplit(url)
    if not parts.hostname:
        raise Refusal("names no host")
    login, _, host = parts.netloc.rpartition("@")
    host = host if host.isascii() else host.encode("idna").decode("ascii")
    path, query = quote(parts.path or "/", safe=string.punctuation), quote(parts.query, safe=string.punctuation)
    headers = {"Accept-Encoding": "identity", "User-Agent": f"pushforward/{__version__}"}
    if login:
        headers["Authorization"] = "Basic " + base64.b64encode(unquote(login).encode()).decode()
    request = urllib.request.Request(urlunsplit((parts.scheme, host, path, query, "")), headers=headers)

    # no handler for redirects, other schemes or errors: what is not here is not done
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler(), urllib.request.UnknownHandler(), _Handler(guarded)):
        opener.add_handler(handler)
    response = opener.open(request, timeout=CONNECT)
    assert isinstance(response, _Response)
    # behind a proxy only the name is known
    response.public = is_public(response.peer if is_direct(request) else parts.hostname)
    return response


def _check_status(response: _Response) -> None:
    if response.status != 200:
        reason = re.sub(r"[^ -~]", "?", response.reason or "")[:80].strip()
        other = "try again later" if response.status >= 500 else "give the file's own address"
        raise Refusal(f"the server answers {response.status} {reason}; {_HINTS.get(response.status, other)}")
