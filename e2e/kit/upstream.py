"""A simplestreams server of our own over TLS, that is as slow as it is told and writes down what it sent.

    upstream = Upstream(folder, bytes_a_second=4 << 20)
    upstream.put("r1", "20250101_0001", metadata_path, root_path)
    upstream.url, upstream.certificate
    upstream.sent()     # [(digest, first byte, bytes that were sent)] since the last time
"""

import hashlib
import http.server
import json
import re
import socketserver
import ssl
import subprocess
import threading
import time

PIECE = 32 << 10


class Upstream:
    def __init__(self, folder, bytes_a_second):
        self.folder, self.pace = folder, bytes_a_second
        self.files, self.lines, self._sent = {}, {}, []
        self.lock = threading.Lock()
        self.certificate, key = folder / "upstream.crt", folder / "upstream.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", self.certificate],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.server = _Server(("127.0.0.1", 0), _handler(self), context)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def put(self, release, serial, metadata, root):
        """Lists an image: a container's squashfs with its metadata."""
        items, both = {}, hashlib.sha256()
        for path in (metadata, root):
            both.update(path.read_bytes())
        for ftype, path in (("squashfs", root), ("lxd.tar.xz", metadata), ("incus.tar.xz", metadata)):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            items[ftype] = {"ftype": ftype, "path": f"images/{digest}", "size": path.stat().st_size, "sha256": digest}
            if ftype != "squashfs":
                items[ftype]["combined_squashfs_sha256"] = both.hexdigest()
            with self.lock:
                self.files[digest] = path
        with self.lock:
            versions = self.lines.setdefault(release, {})
            versions[serial] = {"items": items}
        return both.hexdigest()

    def document(self):
        with self.lock:
            products = {
                f"kill:{release}:amd64:default": {
                    "aliases": f"kill/{release}", "arch": "amd64", "os": "Kill", "release": release, "release_title": release,
                    "variant": "default", "versions": dict(versions),
                }
                for release, versions in self.lines.items()
            }  # fmt: skip
        return {"format": "products:1.0", "content_id": "images", "datatype": "image-downloads", "products": products}

    def index(self):
        stream = {"datatype": "image-downloads", "path": "streams/v1/images.json", "products": list(self.document()["products"])}
        return {"format": "index:1.0", "index": {"images": stream}}

    def note(self, digest, first, sent):
        with self.lock:
            self._sent.append((digest, first, sent))

    def sent(self):
        with self.lock:
            sent, self._sent = self._sent, []
        return sent

    def end(self):
        self.server.shutdown()
        self.server.server_close()


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def __init__(self, address, handler, context):
        super().__init__(address, handler)
        self.context = context

    def finish_request(self, request, client_address):
        # Off the thread that accepts: a client that is killed in a handshake keeps nobody waiting.
        request.settimeout(60)
        try:
            with self.context.wrap_socket(request, server_side=True) as secured:
                self.RequestHandlerClass(secured, client_address, self)
        except OSError:
            pass

    def handle_error(self, request, client_address):
        pass


def _handler(upstream):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            if self.path.startswith("/images/"):
                return self.file(self.path.removeprefix("/images/"))
            document = {"/streams/v1/index.json": upstream.index, "/streams/v1/images.json": upstream.document}.get(self.path)
            if document is None:
                return self.answer(404, b"")
            return self.answer(200, json.dumps(document()).encode())

        def answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def file(self, digest):
            path = upstream.files.get(digest)
            if path is None:
                return self.answer(404, b"")
            data, first = path.read_bytes(), 0
            if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
                first = int(wanted[1])
                if first >= len(data):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(data)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return None
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{digest}"')
            self.send_header("Content-Length", str(len(data) - first))
            self.end_headers()
            at = first
            try:
                while at < len(data):
                    piece = data[at : at + PIECE]
                    self.wfile.write(piece)
                    at += len(piece)
                    time.sleep(len(piece) / upstream.pace)
            finally:
                upstream.note(digest, first, at - first)
            return None

        def log_message(self, *_):
            pass

    return Handler
