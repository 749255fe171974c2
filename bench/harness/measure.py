"""Runs the cells, each on a fresh server, all servers of a case one after the other in every round."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

from . import host, peers, workshop

# Longer than any cell takes: a generator that is still there hangs.
GENERATOR_LIMIT_S = 200
START_LIMIT_S = 15
STOP_LIMIT_S = 5

SPEEDS = ("deliveries_per_s", "msgs_per_s", "handshakes_per_s")
COSTS = ("cpu_us_per_delivery", "cpu_us_per_msg", "cpu_us_per_handshake")


@dataclass(frozen=True)
class Effort:
    rounds: int
    secs: float
    warmup: float = 1.0
    hold: float = 3.0

    def words(self):
        return ("--secs", self.secs, "--warmup", self.warmup, "--hold", self.hold)


QUICK = Effort(rounds=1, secs=0.7, warmup=0.3, hold=1.0)


@dataclass(frozen=True)
class Cores:
    server: int
    generator: int


def run(cases, servers, effort, cores, results):
    results.parent.mkdir(parents=True, exist_ok=True)
    denrei = servers["denrei"].command(0, results.parent, "")[0]
    about = {"date": time.strftime("%Y-%m-%d"), **host.describe(), "rounds": effort.rounds, "secs": effort.secs,
             "versions": peers.versions(denrei)}
    # Below the range of ephemeral ports, and a new port for each server: none meets another's TIME_WAIT.
    port = 15000 + os.getpid() % 10000
    with results.open("a") as out:
        append(out, {"about": about})
        for group in dict.fromkeys(case.group for case in cases):
            for number in range(effort.rounds):
                for case in (case for case in cases if case.group == group):
                    # Another one begins in each round, so that no server always follows the same one.
                    first = number % max(len(case.cells), 1)
                    for cell in case.cells[first:] + case.cells[:first]:
                        port += 1
                        record = measure(case, cell, servers[cell.peer], effort, cores, port)
                        append(out, {"group": group, "case": case.title, "peer": cell.peer, "round": number, **record})
                        print(summary(case, cell, number, record), file=sys.stderr, flush=True)


def append(out, record):
    out.write(json.dumps(record) + "\n")
    out.flush()


def command_line(case, cell):
    return " ".join(quoted(word) for word in (*case.words, *cell.words))


def quoted(word):
    return f"'{word}'" if set(str(word)) & set('{"?&') else str(word)


def measure(case, cell, server, effort, cores, port):
    directory = workshop.CACHE / "run" / str(port)
    directory.mkdir(parents=True)
    try:
        with (directory / "output").open("w") as output:
            process = start(server, cell, cores, port, directory, output)
        try:
            if not listening(process, port):
                return {"failed": f"did not start: {host.read(directory / 'output')[-300:]}"}
            return generate(case, cell, effort, cores, port, process.pid)
        finally:
            stop(process)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def start(server, cell, cores, port, directory, output):
    words = [str(word) for word in server.command(port, directory, cell.mode) if word != ""]
    environment = {**os.environ, **server.environment}
    return subprocess.Popen(["taskset", "-c", str(cores.server), *words], preexec_fn=host.in_own_session, env=environment,
                            cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def listening(process, port):
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.05)
            continue
        # What a server still does after it has begun to listen is not what is measured.
        time.sleep(0.3)
        return True
    return False


def generate(case, cell, effort, cores, port, pid):
    target = ("--addr", f"127.0.0.1:{port}", "--pid", pid, "--label", cell.peer)
    words = [workshop.GENERATOR, *case.words, *effort.words(), *cell.words, *target]
    try:
        done = subprocess.run(["taskset", "-c", str(cores.generator), *map(str, words)], preexec_fn=host.in_own_session,
                              capture_output=True, text=True, timeout=GENERATOR_LIMIT_S)
    except subprocess.TimeoutExpired:
        return {"failed": f"no result in {GENERATOR_LIMIT_S} s"}
    if done.returncode:
        return {"failed": done.stderr.strip()[-300:]}
    return {**json.loads(done.stdout), "command": command_line(case, cell), "load": os.getloadavg()[0]}


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        # Its session is its own: this ends its workers too.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def summary(case, cell, number, record):
    head = f"{case.group} {number + 1} | {case.title} | {cell.peer:14} |"
    if "failed" in record:
        return f"{head} FAILED: {record['failed']}"
    first = lambda names: next((record[name] for name in names if name in record), None)
    figures = {"us": first(COSTS), "per_s": first(SPEEDS), "kb": record.get("rss_kb_per_conn"),
               "util": record.get("server_util"), "gen": record.get("gen_busy")}
    shown = [f"{name}={value:,}" for name, value in figures.items() if value is not None]
    faults = [f"{name}={record[name]}" for name in ("lost", "gaps", "other_frames", "errors", "last_error") if record.get(name)]
    return " ".join([head, *shown, *faults])
