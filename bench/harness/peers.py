"""The servers: how each is built, started and found missing."""

import json
import os
import shutil
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from . import workshop

NAMES = (
    "bare", "bare-joined", "denrei", "denrei-signal", "denrei-feed",
    "bun", "nchan", "axum", "axum-nodelay", "node-ws", "node-sse",
    "denrei-native", "denrei-handlers", "denrei-postgres", "node-socketio", "socketioxide", "socketioxide-nodelay",
)

LABELS = {
    "bare": "bare loop",
    "bare-joined": "bare loop, joined",
    "denrei": "**denrei**",
    "denrei-signal": "**denrei** (`signal`)",
    "denrei-feed": "**denrei** (`feed`)",
    "bun": "Bun",
    "nchan": "nginx + Nchan",
    "axum": "axum + broadcast",
    "axum-nodelay": "axum + broadcast, NODELAY",
    "node-ws": "Node `ws`",
    "node-sse": "Node `http`",
    "denrei-native": "**denrei** (native)",
    "denrei-handlers": "**denrei** (handlers)",
    "denrei-postgres": "**denrei** (PostgreSQL)",
    "node-socketio": "Node `socket.io`",
    "socketioxide": "socketioxide",
    "socketioxide-nodelay": "socketioxide, NODELAY",
}


@dataclass
class Server:
    """`command` takes the port, a directory of its own and the mode ("" or "deflate")."""

    command: Callable[[int, Path, str], list]
    prepare: Callable[[], None] = lambda: None
    missing: Callable[[], str | None] = lambda: None
    environment: dict = field(default_factory=dict)


def table(denrei):
    bare = dict(prepare=workshop.build_bare_loop)
    axum = dict(prepare=workshop.build_axum)
    socketioxide = dict(prepare=workshop.build_socketioxide)
    handlers = denrei.parent / "examples/handlers"
    node = dict(
        prepare=lambda: workshop.build_node_peers() if shutil.which("npm") else None,
        missing=lambda: None if shutil.which("node") and workshop.NODE.exists() else "needs node and npm",
        environment={"NODE_ENV": "production"},
    )
    served = Server(
        lambda port, directory, mode: [denrei, "serve", "--listen", f"127.0.0.1:{port}", "--data", directory / "data"],
        missing=lambda: None if denrei.exists() else f"no {denrei}: cargo build --release -p denrei-server",
    )
    return {
        "bare": Server(lambda port, *_: [workshop.BARE_LOOP, port, "single"], **bare),
        "bare-joined": Server(lambda port, *_: [workshop.BARE_LOOP, port, "joined"], **bare),
        "denrei": served,
        "denrei-signal": served,
        "denrei-feed": served,
        "bun": Server(lambda port, _, mode: [workshop.BUN, workshop.NODE / "bun_ws.mjs", port, mode], **node),
        "nchan": Server(nginx, missing=missing_nginx),
        "axum": Server(lambda port, *_: [workshop.AXUM, port], **axum),
        "axum-nodelay": Server(lambda port, *_: [workshop.AXUM, port, "nodelay"], **axum),
        "node-ws": Server(lambda port, _, mode: ["node", workshop.NODE / "node_ws.mjs", port, mode], **node),
        "node-sse": Server(lambda port, *_: ["node", workshop.NODE / "node_sse.mjs", port], **node),
        "denrei-native": served,
        "denrei-handlers": Server(
            lambda port, *_: [handlers, port],
            missing=lambda: None if handlers.exists() else f"no {handlers}: cargo build --release -p denrei --example handlers",
        ),
        "denrei-postgres": Server(
            lambda port, directory, _: [workshop.PEERS / "denrei_postgres", denrei, port, directory],
            missing=lambda: None if denrei.exists() and shutil.which("initdb", path=postgres_path()) else "needs PostgreSQL",
        ),
        "node-socketio": Server(lambda port, *_: ["node", workshop.NODE / "node_socketio.mjs", port], **node),
        "socketioxide": Server(lambda port, *_: [workshop.SOCKETIOXIDE, port], **socketioxide),
        "socketioxide-nodelay": Server(lambda port, *_: [workshop.SOCKETIOXIDE, port, "nodelay"], **socketioxide),
    }


def postgres_path():
    """Distributions keep the server's programs where no path leads."""
    found = [str(path) for path in Path("/usr/lib/postgresql").glob("*/bin")]
    return os.pathsep.join([*found, os.environ.get("PATH", "")])


def nginx(port, directory, mode):
    values = {"@PORT@": str(port), "@MODULE@": nchan_module(), "@DEFLATE@": "on" if mode == "deflate" else "off"}
    text = (workshop.PEERS / "nchan.conf").read_text()
    for name, value in values.items():
        text = text.replace(name, value)
    (directory / "nginx.conf").write_text(text)
    return [nginx_binary(), "-p", directory, "-c", "nginx.conf", "-e", "error.log"]


def missing_nginx():
    return None if nginx_binary() and nchan_module() else "needs nginx and its Nchan module"


def nginx_binary():
    # Distributions install it where only root's path leads.
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def nchan_module():
    places = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules", "/usr/local/lib/nginx/modules")
    found = [f"{place}/ngx_nchan_module.so" for place in places if Path(place, "ngx_nchan_module.so").exists()]
    return found[0] if found else None


def versions(denrei):
    """What was measured, as far as it can be asked."""
    found = {
        "denrei": workshop.output(denrei, "--version").removeprefix("denrei "),
        "commit": workshop.output("git", "-C", workshop.REPOSITORY, "rev-parse", "--short=12", "HEAD"),
        "rustc": workshop.output("rustc", "--version").removeprefix("rustc ").split(" ")[0],
        "node": workshop.output("node", "--version").removeprefix("v"),
        "ws": installed("ws"),
        "socket.io": installed("socket.io"),
        "bun": workshop.output(workshop.BUN, "--version"),
        "nginx": workshop.output(nginx_binary() or "nginx", "-v").rpartition("/")[2],
        "axum": locked("axum"),
        "socketioxide": locked("socketioxide"),
    }
    return {name: version for name, version in found.items() if version and "\n" not in version}


def installed(package):
    """The version of a package of npm, if it is there."""
    file = workshop.NODE / "node_modules" / package / "package.json"
    return json.loads(file.read_text()).get("version", "") if file.exists() else ""


def locked(name):
    """The version of the crate after which a peer is named."""
    packages = tomllib.loads((workshop.PEERS / name / "Cargo.lock").read_text())["package"]
    return next((package["version"] for package in packages if package["name"] == name), "")
