"""What is done to the machine, all of it undone at the end, so that other work disturbs less."""

import contextlib
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

CONGESTION = "reno"


def again_in_private_network(refused):
    """Runs this command again in a network namespace of its own; returns its status, or None to go on here.

    The namespace keeps other loopback traffic out and the congestion control fixed: a machine set to bbr would pace
    the senders, and a namespace may choose only what the machine allows to all, which reno is everywhere.
    """
    if refused or os.geteuid() != 0 or not shutil.which("ip"):
        print("no network namespace: other traffic on the loopback interface is measured too", file=sys.stderr)
        return None
    name = f"denrei-bench-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name]).returncode:
        return None
    try:
        enter = ["ip", "netns", "exec", name]
        subprocess.run([*enter, "ip", "link", "set", "lo", "up"], check=True)
        with contextlib.suppress(FileNotFoundError):
            subprocess.run([*enter, "sysctl", "-qw", f"net.ipv4.tcp_congestion_control={CONGESTION}"])
        return wait_for(subprocess.Popen([*enter, sys.executable, *sys.argv, "--inside"]))
    finally:
        subprocess.run(["ip", "netns", "delete", name])


def wait_for(child):
    """The child's status. It ends its servers itself when it is interrupted; so it must not be killed over that."""
    # The terminal has sent the child the same interrupt.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    return child.wait()


def raise_file_limit():
    """10,000 connections need as many files; servers and generator inherit the limit."""
    needed = 10200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 20000 if hard == resource.RLIM_INFINITY else min(hard, 20000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit, min(soft, limit)), hard))
    if limit < needed:
        print(f"only {limit} files may be open: the cells with 10,000 connections will fail (ulimit -Hn)", file=sys.stderr)


def in_own_session():
    """For a child before exec: a session of its own and, as root, the greatest weight among sessions (autogroup)."""
    os.setsid()
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("-20")


def describe():
    cpu = [line.split(":", 1)[1].strip() for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name")]
    return {
        "cpu": cpu[0] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release().partition("-")[0],
        "congestion": read("/proc/sys/net/ipv4/tcp_congestion_control").strip(),
    }


def read(path):
    with contextlib.suppress(OSError):
        return Path(path).read_text()
    return ""
