"""What is measured: cases, and in each the servers with the words that the generator needs for them."""

from dataclasses import dataclass, field, replace

GROUPS = ("ws", "sse", "echo", "idle", "connect", "rooms", "slow", "deflate", "poll", "sio", "chat")
DENREI_AND_FLOOR = ["bare", "bare-joined", "denrei", "denrei-signal", "denrei-feed", "denrei-native", "denrei-handlers",
                    "denrei-postgres"]


class Unknown(Exception):
    """A name that is none of ours."""


@dataclass(frozen=True)
class Cell:
    peer: str
    words: tuple = ()
    mode: str = ""


@dataclass(frozen=True)
class Case:
    group: str
    title: str
    words: tuple
    cells: tuple = field(repr=False)
    # The case whose bare loops are the measure, when this one has none.
    measured_by: str | None = None

    def only(self, names):
        return replace(self, cells=tuple(cell for cell in self.cells if cell.peer in names))


def select(groups, names):
    """The cases of these groups with these peers; everything when nothing is named."""
    known = {cell.peer for case in CASES for cell in case.cells}
    for name, among in [(g, GROUPS) for g in groups or ()] + [(p, known) for p in names or ()]:
        if name not in among:
            raise Unknown(f"{name} is none of {', '.join(sorted(among))}")
    chosen = [case for case in CASES if not groups or case.group in groups]
    if names:
        chosen = [case.only(names) for case in chosen]
    return [case for case in chosen if case.cells]


# --- denrei ---

def join(room_class, wire="ws"):
    room = room_class + ":{room}"
    if wire == "sse":
        return ("--path", f"/sse?room={room}")
    # After the upgrade comes `welcome`, and then the reply to the join.
    return ("--path", "/ws", "--join", f'{{"type":"join","room":"{room}","ref":"j"}}', "--join-acks", "2")


def publish(room_class, payload='"{payload}"'):
    # Without `ref` there is no reply; what a publisher gets is `welcome`.
    message = f'{{"type":"broadcast","room":"{room_class}:{{room}}","payload":{payload}}}'
    return ("--pub-proto", "ws", "--pub-path", "/ws", "--pub-join-acks", "1", "--publish", message)


def denrei(room_class="live", wire="ws", payload='"{payload}"'):
    name = "denrei" if room_class == "live" else f"denrei-{room_class}"
    return Cell(name, join(room_class, wire) + publish(room_class, payload))


DENREI_ECHO = ("--path", "/ws", "--join-acks", "1",
               "--publish", '{"type":"call","method":"echo","payload":"{payload}","ref":"{id}"}')
DENREI_POLL = ("--path", "/api/rooms/live:{room}/events?since={cursor}&wait=25", "--lp-cursor", "Denrei-Position")

# --- Socket.IO: the same events everywhere ---

SIO_JOIN = ("--join", '420["join","live:{room}"]', "--join-acks", "1")
SIO_PUBLISH = ("--publish", '42["publish","live:{room}","message","{payload}"]')
SIO_ECHO = ("--publish", '42{id}["echo","{payload}"]')

# --- the chat: kept in a database before it is answered ---

CHAT_STORES = ("denrei", "denrei-postgres")
CHAT_JOIN = '{"type":"call","method":"chat.join","payload":{"room":"{room}"},"ref":"c"}'
CHAT_SEND = ('{"type":"call","method":"chat.send","payload":'
             '{"room":"{room}","content":"{payload}","clientMessageId":"{i}-{id}"},"ref":"{id}"}')


def chat_sends(rooms):
    # What brings a message back is the answer to it: it is in the database then.
    words = ("--path", "/ws", "--join", CHAT_JOIN, "--join-acks", "2", "--publish", CHAT_SEND)
    return Case("chat", f"Chat: messages kept and acknowledged, {rooms:,} room{'s' * (rooms > 1)}, 64 connections × 16",
                ("echo", "--n", 64, "--depth", 16, "--rooms", rooms), each(*CHAT_STORES, words=words))


def chat_fan_out(readers, window):
    words = ("--path", "/ws", "--join", CHAT_JOIN, "--join", '{"type":"join","room":"chat:{room}","ref":"j"}',
             "--join-acks", "3", "--pub-proto", "ws", "--pub-path", "/ws", "--pub-join-acks", "1",
             "--publish", '{"type":"call","method":"chat.send","payload":{"room":"{room}","content":"{payload}"}}')
    return Case("chat", f"Chat: a room of {readers:,}, {window} in flight, to the last reader",
                ("fanout", "--n", readers, "--inflight", window), each(*CHAT_STORES, words=words))


# --- the cases ---

BARE_PUBLISHER = ("--pub-proto", "ws", "--pub-path", "/pub")
BARE = (Cell("bare", BARE_PUBLISHER), Cell("bare-joined", BARE_PUBLISHER))


def each(*names, words=(), mode=""):
    return tuple(Cell(name, words, mode) for name in names)


def fan_out(readers, window):
    return Case(
        "ws", f"WebSocket fan-out to {readers:,}, {window} in flight",
        ("fanout", "--n", readers, "--inflight", window),
        BARE + (denrei(), denrei("signal"), denrei("feed")) + each("bun", "nchan", "axum", "axum-nodelay", "node-ws"),
    )


def event_stream(readers):
    return Case(
        "sse", f"SSE fan-out to {readers:,}, 16 in flight",
        ("fanout", "--proto", "sse", "--n", readers, "--inflight", 16),
        BARE + (denrei(wire="sse"),)
        # These are published to by POST, which needs a connection for each message in flight.
        + each("nchan", "axum", "axum-nodelay", "node-sse", words=("--pub-conns", 16)),
    )


def echo(connections, depth):
    return Case(
        "echo", f"WebSocket echo, {connections} connections × {depth} outstanding",
        ("echo", "--n", connections, "--depth", depth),
        (Cell("denrei", DENREI_ECHO),) + each("bare", "bun", "axum", "axum-nodelay", "node-ws", words=("--path", "/echo")),
    )


def slow(stopped):
    # At a pace that leaves every server time: what is late is late because of those who do not read.
    title = "100 messages of 8 KB a second to 200"
    return Case(
        "slow", f"{title}, and to {stopped} who do not read" if stopped else title,
        ("fanout", "--n", 200, "--stopped", stopped, "--rate", 100, "--inflight", 1000, "--size", 8192),
        (denrei(), denrei("signal"), denrei("feed")) + each("bun", "nchan", "axum", "axum-nodelay", "node-ws"),
    )


SIO_PEERS = ("denrei", "denrei-handlers", "node-socketio", "socketioxide")


def socketio(title, words, spoken, beside, names=SIO_PEERS, wire="sio"):
    return Case("sio", title, words, beside + each(*names, words=("--proto", wire, *spoken)))


def native(*words):
    """The same in denrei's own protocol."""
    return (Cell("denrei-native", words),)


def socketio_fan_out(readers, window):
    return socketio(
        f"Socket.IO fan-out to {readers:,}, {window} in flight", ("fanout", "--n", readers, "--inflight", window),
        SIO_JOIN + SIO_PUBLISH, native(*join("live"), *publish("live")), (*SIO_PEERS, "socketioxide-nodelay"),
    )


def socketio_echo(connections, depth):
    return socketio(
        f"Socket.IO echo by ack, {connections} connections × {depth} outstanding",
        ("echo", "--n", connections, "--depth", depth), SIO_ECHO, native(*DENREI_ECHO),
        # Who echoes is a handler: the server's own namespace / knows rooms only.
        ("denrei-handlers", "node-socketio", "socketioxide", "socketioxide-nodelay"),
    )


ROOM = ("--path", "/room?{room}", "--publish", "{room}{payload}")
BARE_ROOM = ROOM + ("--pub-path", "/proom")
BIG = ("fanout", "--n", 1000, "--inflight", 4, "--size", 2048, "--payload", "json")
PLAIN = "2 KB JSON to 1,000, plain"

CASES = (
    fan_out(1000, 1),
    fan_out(1000, 16),
    fan_out(1000, 64),
    fan_out(10000, 16),
    event_stream(1000),
    event_stream(10000),
    echo(64, 1),
    echo(512, 16),
    Case("idle", "Idle WebSocket, 10,000 connections", ("idle", "--n", 10000),
         (Cell("denrei", join("live")),) + each("bare", "bun", "nchan", "axum", "node-ws")),
    Case("idle", "Idle SSE, 10,000 connections", ("idle", "--proto", "sse", "--n", 10000),
         (Cell("denrei", join("live", "sse")),) + each("bare", "nchan", "axum", "node-sse")),
    Case("connect", "WebSocket handshakes, 64 at a time", ("connect", "--conc", 64, "--path", "/ws"),
         each("bare", "denrei", "bun", "nchan", "axum", "node-ws")),
    Case("rooms", "1,000 rooms of 10, 16 in flight", ("fanout", "--n", 10000, "--rooms", 1000, "--inflight", 16),
         each("bare", "bare-joined", words=BARE_ROOM) + (denrei(), denrei("signal"), denrei("feed"))
         + each("bun", "axum", "axum-nodelay", "node-ws", words=ROOM + ("--pub-path", "/room"))),
    slow(0),
    slow(100),
    Case("deflate", PLAIN, BIG,
         BARE + (denrei(payload="{payload}"),) + each("bun", "nchan", "axum", "axum-nodelay", "node-ws")),
    Case("deflate", "2 KB JSON to 1,000, deflate", BIG + ("--deflate",),
         (denrei(payload="{payload}"),) + each("bun", "nchan", "node-ws", mode="deflate"), measured_by=PLAIN),
    Case("poll", "Long poll by 1,000, 4 in flight", ("fanout", "--proto", "lp", "--n", 1000, "--inflight", 4),
         (Cell("denrei", DENREI_POLL + publish("live")),) + each("nchan")),
    socketio_fan_out(1000, 1),
    socketio_fan_out(1000, 16),
    socketio_fan_out(10000, 16),
    socketio("Socket.IO by long poll, fan-out to 1,000, 4 in flight", ("fanout", "--n", 1000, "--inflight", 4),
             SIO_JOIN + SIO_PUBLISH,
             native("--proto", "lp", *DENREI_POLL, *publish("live")) + each("nchan", words=("--proto", "lp")),
             wire="sio-poll"),
    socketio_echo(64, 1),
    socketio_echo(512, 16),
    socketio("Socket.IO handshakes with namespace, 64 at a time", ("connect", "--conc", 64), (),
             native("--path", "/ws")),
    chat_sends(1),
    chat_sends(100),
    chat_fan_out(1000, 1),
    chat_fan_out(1000, 16),
    socketio("Idle Socket.IO, 10,000 connections in a room", ("idle", "--n", 10000), SIO_JOIN, native(*join("live"))),
)
