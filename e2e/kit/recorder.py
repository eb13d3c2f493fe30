"""A TCP proxy that writes down, one JSON object a line, what goes through it: recorder.py LISTEN TARGET FILE PLAIN.

Each connection gives {"event": "open", "tls": true or false}, judged by its first byte (0x16 starts a TLS handshake).
Plain ones give {"event": "request", "method": …, "path": …} and {"event": "status", "code": …, "path": …} as well, and every byte
of theirs, in both directions, goes to the file PLAIN: what somebody on the way could read.
"""

import asyncio
import json
import re
import sys

REQUEST = re.compile(rb"^([A-Z]+) (\S+) HTTP/1\.[01]\r$", re.MULTILINE)
STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3})[ \r]", re.MULTILINE)


class Recorder:
    """Writes the events of all connections to one file."""

    def __init__(self, target, file, plain):
        self.target = target
        self.file = file
        self.plain = plain

    def note(self, **event):
        self.file.write(json.dumps(event) + "\n")
        self.file.flush()

    async def connection(self, reader, writer):
        first = await reader.read(65536)
        if not first:
            writer.close()
            return
        tls = first[0] == 0x16
        self.note(event="open", tls=tls)
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self.target)
        asked = []

        def overhear(data):
            self.plain.write(data)
            self.plain.flush()

        def request(data):
            overhear(data)
            for method, path in REQUEST.findall(data):
                asked.append(path.decode())
                self.note(event="request", method=method.decode(), path=path.decode())

        def status(data):
            overhear(data)
            for code in STATUS.findall(data):
                path = asked.pop(0) if asked else None
                if path is not None:
                    self.note(event="status", code=int(code), path=path)

        if not tls:
            request(first)
        upstream_writer.write(first)
        await asyncio.gather(
            pump(reader, upstream_writer, None if tls else request),
            pump(upstream_reader, writer, None if tls else status),
        )


async def pump(reader, writer, look):
    """Copies until the end, showing each piece to `look`."""
    try:
        while data := await reader.read(65536):
            if look:
                look(data)
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main():
    listen, target, path, plain = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    with open(path, "a", encoding="utf-8") as file, open(plain, "ab") as bytes_in_plain:
        recorder = Recorder(target, file, bytes_in_plain)
        server = await asyncio.start_server(recorder.connection, "127.0.0.1", listen)
        await server.serve_forever()


asyncio.run(main())
