"""HTTP/2 from the server's side, frame by frame; h2 keeps the state that a case does not want to break."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived

from tests.odd.certificates import context
from tests.odd.server import Conversation, Serve

Fields = Sequence[tuple[bytes, bytes]]
OK: Fields = ((b":status", b"200"), (b"content-type", b"text/plain"))


class Http2:
    """One connection. Nothing that goes out is checked."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.state = H2Connection(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.state.initiate_connection()
        self._flush()

    def _flush(self) -> None:
        self.conversation.sock.sendall(self.state.data_to_send())

    def requests(self) -> Iterator[int]:
        """The stream of each request that comes, until the client goes."""
        while True:
            yield from self.receive()

    def receive(self) -> list[int]:
        """The streams of the requests that come next, if it is requests; ConnectionError when the client has gone."""
        data = self.conversation.sock.recv(65536)
        if not data:
            raise ConnectionError
        requests = [event for event in self.state.receive_data(data) if isinstance(event, RequestReceived)]
        self._flush()
        self.conversation.paths += [dict(event.headers or ())[b":path"].decode("latin-1") for event in requests]
        return [event.stream_id for event in requests]

    def room(self, stream: int) -> int:
        """How many bytes may be sent at once."""
        return min(self.state.local_flow_control_window(stream), self.state.max_outbound_frame_size)

    def headers(self, stream: int, fields: Fields = OK, *, last: bool = False) -> None:
        self.state.send_headers(stream, fields, end_stream=last)
        self._flush()

    def data(self, stream: int, content: bytes, *, last: bool = True) -> None:
        self.state.send_data(stream, content, end_stream=last)
        self._flush()

    def reset(self, stream: int, code: ErrorCodes = ErrorCodes.INTERNAL_ERROR) -> None:
        self.state.reset_stream(stream, code)
        self._flush()

    def go_away(self, last_stream: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Written by hand: h2 would not let anything follow it."""
        self.frame(7, 0, 0, last_stream.to_bytes(4, "big") + int(code).to_bytes(4, "big"))

    def frame(self, kind: int, flags: int, stream: int, payload: bytes, *, times: int = 1) -> None:
        """Any frame (RFC 9113 §4.1), past h2's state."""
        head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
        self.conversation.sock.sendall((head + payload) * times)


def over_h2(answer: Callable[[Http2, int], None]) -> Serve:
    """Every request is answered by `answer(http2, stream)`, over TLS."""

    def serve(conversation: Conversation) -> None:
        conversation.secure(context(h2=True))
        http2 = Http2(conversation)
        for stream in http2.requests():
            answer(http2, stream)

    return serve
