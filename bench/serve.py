"""A file over HTTPS on loopback, in a process of its own: `python -m bench.serve CHAIN FILE`.

Prints its port. `/whole` gives the file, or the range that is asked for; `/cut` breaks off in the
middle of the first answer.
"""

import re
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PIECE = 1 << 20


class Handler(BaseHTTPRequestHandler):
    """Serves the one file."""

    protocol_version = "HTTP/1.1"
    file: Path

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        """The file, from where it is asked for."""
        self.close_connection = True
        size = self.file.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.send_header("ETag", '"1"')
        self.end_headers()
        left = size - start
        if self.path == "/cut" and not asked:
            left = size // 2
        with self.file.open("rb") as file:
            file.seek(start)
            while left and (piece := file.read(min(PIECE, left))):
                self.wfile.write(piece)
                left -= len(piece)


def main(chain: str, file: str) -> None:
    """Serve until killed."""
    Handler.file = Path(file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
