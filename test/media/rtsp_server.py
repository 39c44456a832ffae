"""A camera that speaks RTSP (RFC 2326) on the loopback interface: H.264 in RTP (RFC 6184), on the same connection."""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import socketserver
import struct
import threading
from collections.abc import Sequence
from io import BufferedIOBase

_LARGEST = 1200
"""Bytes of a NAL unit in one RTP packet; larger ones are sent in fragments."""


class RtspServer:
    """Streams `packets`, one after another every 1 / `fps` seconds, from the first one on to each client.

    Attributes:
        address: of the stream.
        requests: the methods that clients asked for, in order.
    """

    def __init__(self, packets: Sequence[bytes], fps: float = 20.0, port: int = 0) -> None:
        self.requests: list[str] = []
        self._frames = [_nal_units(packet) for packet in packets]
        self._fps = fps
        self._ending = threading.Event()
        self._clients: list[socket.socket] = []
        camera = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                camera._clients.append(self.connection)
                with contextlib.suppress(OSError):
                    camera._serve(self.rfile, self.connection)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.address = f"rtsp://127.0.0.1:{self.port}/stream"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Closes all connections, as when a camera loses its power."""
        self._ending.set()
        self._server.shutdown()
        self._server.server_close()
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _serve(self, requests: BufferedIOBase, client: socket.socket) -> None:
        while line := requests.readline():
            method, url = line.decode().split()[:2]
            headers = {}
            while (line := requests.readline()) not in (b"\r\n", b""):
                name, _, value = line.decode().partition(":")
                headers[name.strip().lower()] = value.strip()
            self.requests.append(method)
            answer, body = {"CSeq": headers["cseq"]}, ""
            if method == "OPTIONS":
                answer["Public"] = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"
            elif method == "DESCRIBE":
                body = self._description()
                answer |= {"Content-Type": "application/sdp", "Content-Base": f"{url}/"}
            elif method == "SETUP":
                assert re.search(r"RTP/AVP/TCP.*interleaved=0-1", headers["transport"])
                answer |= {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1", "Session": "1"}
            head = "".join(f"{name}: {value}\r\n" for name, value in answer.items())
            client.sendall(f"RTSP/1.0 200 OK\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            if method == "PLAY":
                self._play(client)

    def _description(self) -> str:
        parameters = [base64.b64encode(unit).decode() for unit in self._frames[0] if unit[0] & 31 in (7, 8)]
        return (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
            f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={','.join(parameters)}\r\na=control:video\r\n"
        )

    def _play(self, client: socket.socket) -> None:
        number = 0
        for frame, units in enumerate(self._frames):
            payloads = [payload for unit in units for payload in _payloads(unit)]
            for k, payload in enumerate(payloads):
                last = 128 if k == len(payloads) - 1 else 0
                rtp = struct.pack(">BBHII", 0x80, last | 96, number, round(frame * 90_000 / self._fps), 1) + payload
                client.sendall(struct.pack(">cBH", b"$", 0, len(rtp)) + rtp)
                number += 1
            if self._ending.wait(1 / self._fps):
                return


def _nal_units(packet: bytes) -> list[bytes]:
    """The NAL units between the start codes of an H.264 packet."""
    return [unit for unit in re.split(rb"\x00\x00\x00?\x01", packet) if unit]


def _payloads(unit: bytes) -> list[bytes]:
    """A NAL unit as it is, or in fragments (FU-A)."""
    if len(unit) <= _LARGEST:
        return [unit]
    pieces = [unit[start : start + _LARGEST] for start in range(1, len(unit), _LARGEST)]
    ends = [128] + [0] * (len(pieces) - 2) + [64]
    return [bytes([unit[0] & 0xE0 | 28, end | unit[0] & 31]) + piece for end, piece in zip(ends, pieces, strict=True)]
