"""JSON-RPC over HTTP in front of ``EvmChain``, so that other processes use it like any node: wallets, web3, anybody.

server = JsonRpcServer(chain); server.start(); … server.url …; server.stop()
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from simulators.evm_chain import EvmChain
from simulators.evm_rpc import INVALID_REQUEST, ChainMethods, answer, error_document

BODY_LIMIT_BYTES = 1024 * 1024
"""Twenty times the largest deployment; nothing honest is larger."""
READ_LIMIT_S = 30
"""A client that stalls this long in the middle of a request is cut off."""


class JsonRpcServer:
    """The HTTP server in threads of its own. Port 0 takes a free one; ``url`` says which."""

    def __init__(self, chain: EvmChain, host: str = "127.0.0.1", port: int = 0) -> None:
        methods, turn = ChainMethods(chain), threading.Lock()

        class Exchange(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = READ_LIMIT_S
            disable_nagle_algorithm = True  # or every answer waits 40 ms for the delayed acknowledgement of its head
            wbufsize = 65_536

            def do_POST(self) -> None:
                length = self.headers.get("Content-Length", "")
                if not length.isdigit():
                    self._reply(411, b"")
                elif int(length) > BODY_LIMIT_BYTES:
                    self.close_connection = True
                    self._reply(
                        413, json.dumps(error_document(None, INVALID_REQUEST, "the body is too large")).encode()
                    )
                else:
                    body = self.rfile.read(int(length))
                    with turn:
                        response = answer(methods, body)
                    self._reply(200, response)

            def _reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Says nothing: stderr belongs to the process around."""

        self._server = ThreadingHTTPServer((host, port), Exchange)
        self._server.daemon_threads = True
        self._thread: threading.Thread | None = None
        self.url = f"http://{host}:{self._server.server_address[1]}"

    def start(self) -> None:
        """Begins to serve; returns at once."""
        self._thread = threading.Thread(target=self._server.serve_forever, name="json-rpc", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends serving and closes the port."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
