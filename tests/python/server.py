"""A denrei process of a test's own: a free loopback port, a temporary folder, ended by its process id."""

import os
import pathlib
import re
import subprocess
import tempfile

BINARY = os.environ.get("DENREI_BIN", str(pathlib.Path(__file__).parents[2] / "target/debug/denrei"))


class Server:
    """Starts when it is entered, and is killed when it is left."""

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="denrei-test-")
        config = pathlib.Path(self._folder.name, "denrei.toml")
        config.touch()
        self._process = subprocess.Popen(
            [BINARY, "serve", "--listen", "127.0.0.1:0", "--data", f"{self._folder.name}/data", "--config", str(config)],
            env={"PATH": os.environ["PATH"], "NO_COLOR": "1", "DENREI_LOG_FORMAT": "human"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        log = ""
        for line in self._process.stderr:
            log += line
            if found := re.search(r"address=(\S+:\d+)", line):
                self.address = found[1]
                return self
        self._process.wait()
        raise RuntimeError(f"denrei ended before it listened:\n{log}")

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._process.stderr.close()
        self._folder.cleanup()
