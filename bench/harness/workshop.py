"""Where things are, and how they are built. Nothing is built or installed outside the cache."""

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
REPOSITORY = BENCH.parent
PEERS = BENCH / "peers"
CACHE = Path(os.environ.get("BENCH_DIR") or REPOSITORY / ".cache/bench").resolve()
DENREI = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target").resolve() / "release/denrei"
GENERATOR = CACHE / "target/loadgen/release/denrei-bench-loadgen"
AXUM = CACHE / "target/axum/release/denrei-bench-axum"
SOCKETIOXIDE = CACHE / "target/socketioxide/release/denrei-bench-socketioxide"
BARE_LOOP = CACHE / "bare_loop"
NODE = CACHE / "node"
BUN = NODE / "node_modules/.bin/bun"


class Broken(Exception):
    """Something cannot be built."""


def build_generator():
    cargo(BENCH / "loadgen", "loadgen")


def build_axum():
    cargo(PEERS / "axum", "axum")


def build_socketioxide():
    cargo(PEERS / "socketioxide", "socketioxide")


def build_bare_loop():
    source = PEERS / "bare_loop.c"
    if not BARE_LOOP.exists() or BARE_LOOP.stat().st_mtime < source.stat().st_mtime:
        CACHE.mkdir(parents=True, exist_ok=True)
        command("cc", "-O2", "-Wall", "-o", BARE_LOOP, source)


def build_node_peers():
    """Puts the peers' sources beside their packages, which are those of the committed lock file."""
    NODE.mkdir(parents=True, exist_ok=True)
    for source in PEERS.glob("*.mjs"):
        shutil.copy(source, NODE)
    installed = NODE / "node_modules/.installed-lock.json"
    lock = PEERS / "package-lock.json"
    if installed.exists() and filecmp.cmp(lock, installed, shallow=False):
        return
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PEERS / name, NODE)
    command("npm", "ci", "--no-audit", "--no-fund", cwd=NODE)
    # Where scripts of packages are not run, Bun's has to be run by hand: it fetches nothing, it picks the binary.
    if not runs(BUN, "--version"):
        command("node", "node_modules/bun/install.js", cwd=NODE)
    shutil.copy(lock, installed)


def cargo(package, target):
    manifest = package / "Cargo.toml"
    environment = {**os.environ, "CARGO_TARGET_DIR": str(CACHE / "target" / target)}
    command("cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", manifest, env=environment)


def command(*words, **options):
    print("building:", *(Path(words[0]).name, *words[1:]), file=sys.stderr)
    try:
        subprocess.run([str(word) for word in words], check=True, stdout=sys.stderr, **options)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Broken(error) from error


def runs(*words):
    try:
        return subprocess.run(words, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def output(*words):
    """What a command says, both streams; nothing when it cannot be run."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout + done.stderr).strip()
