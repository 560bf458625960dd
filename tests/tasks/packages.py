"""Debian packages for nodes that have no network: an HTTP proxy inside the nodes' namespace that fetches from outside.

It serves nothing but what apt on the nodes is set up to fetch from, and keeps package files, which never change
under one name, in the user's cache.
"""

import ctypes
import hashlib
import os
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import nodes

CLONE_NEWNET = 0x40000000
FOLDER = nodes.CACHE / "debian-packages"


def hosts():
    """Where the nodes are set up to fetch from."""
    listed = (nodes.tree() / "etc/apt/sources.list").read_text()
    return {urlsplit(word).netloc for word in listed.split() if word.startswith("http://")}


class Fetch(BaseHTTPRequestHandler):
    """One request of apt's."""

    allowed = frozenset()
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        kept = FOLDER / hashlib.sha256(self.path.encode()).hexdigest() if self.path.endswith(".deb") else None
        if urlsplit(self.path).netloc not in self.allowed or not self.path.startswith("http://"):
            return self.send_error(403, "not a package source of the nodes")
        if kept and kept.exists():
            return self.answer(200, kept.read_bytes())
        passed = {name: self.headers[name] for name in ("If-Modified-Since", "Range", "If-Range") if name in self.headers}
        try:
            with urllib.request.urlopen(urllib.request.Request(self.path, headers=passed), timeout=120) as found:
                body, status, modified = found.read(), found.status, found.headers.get("Last-Modified")
        except urllib.error.HTTPError as error:
            return self.answer(error.code, b"")
        except OSError as error:
            return self.send_error(502, str(error)[:200])
        if kept and status == 200:
            part = kept.with_suffix(f".{threading.get_ident()}")
            part.write_bytes(body)
            part.rename(kept)
        return self.answer(status, body, modified)

    def answer(self, status, body, modified=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if modified:
            self.send_header("Last-Modified", modified)
        self.end_headers()
        if status != 304:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve():
    """Starts the proxy in a process of its own, which ends with the namespace."""
    allowed = frozenset(hosts())
    FOLDER.mkdir(parents=True, exist_ok=True)
    # The socket stays in the network where it was made, whatever its process does afterwards.
    proxy = urlsplit(nodes.PROXY)
    server = ThreadingHTTPServer((proxy.hostname, proxy.port), Fetch)
    child = os.fork()
    if child:
        server.socket.close()
        return child
    Fetch.allowed = allowed
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(int(os.environ["WRIGHT_NODES_OUTSIDE"]), CLONE_NEWNET) != 0:
        os._exit(1)
    server.serve_forever()
    os._exit(0)

