//! A PostgreSQL server of the tests' own, in a temporary directory, on a socket in it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A server; stopped, with all that it kept, when it is dropped or this process ends, however it does.
pub(crate) struct Server {
    directory: PathBuf,
    durability: Durability,
    /// On loopback, encrypted; otherwise it listens on its socket only.
    port: Option<u16>,
    postmaster: Option<Child>,
    /// Waits for the end of its input, then stops what runs in the directory and removes it.
    watch: Child,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// `fsync` is on.
    Kept,
    /// `fsync` is off: for tests of what is kept while the machine runs, which is most of them.
    Spared,
}

impl Server {
    const PASSWORD: &str = "p@ss/wo?rd";

    /// The server of this process, for tests that do not stop it.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(Durability::Spared))
    }

    pub(crate) fn start(durability: Durability) -> Self {
        Self::start_on(durability, None)
    }

    /// One that also listens on loopback, and can encrypt there.
    pub(crate) fn start_encrypted() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::start_on(Durability::Spared, Some(port))
    }

    fn start_on(durability: Durability, port: Option<u16>) -> Self {
        let directory = tempfile::Builder::new().prefix("denrei-pg-").tempdir().unwrap().keep();
        let watch = Command::new("sh")
            .args(["-c", WATCH, "sh"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self { directory, durability, port, postmaster: None, watch };
        if port.is_some() {
            server.certify();
        }
        let password = server.directory.join("password");
        fs::write(&password, Self::PASSWORD).unwrap();
        if is_root() {
            succeeds(Command::new("chown").args(["-R", "nobody:nogroup"]).arg(&server.directory));
        }
        succeeds(
            server
                .program("initdb")
                .args(["--no-sync", "--locale=C", "--encoding=UTF8", "--auth=scram-sha-256", "--username=denrei"])
                .arg("--pwfile")
                .arg(&password)
                .arg("-D")
                .arg(server.data()),
        );
        server.run();
        server
    }

    /// Starts it, again perhaps, and waits until it lets clients in.
    pub(crate) fn run(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.directory.join("log")).unwrap();
        let fsync = if self.durability == Durability::Kept { "fsync=on" } else { "fsync=off" };
        let sockets = format!("unix_socket_directories={}", self.directory.display());
        let mut settings =
            [fsync, &sockets, "max_connections=500", "deadlock_timeout=100ms"].map(str::to_owned).to_vec();
        match self.port {
            None => settings.push("listen_addresses=".into()),
            Some(port) => settings.extend([
                "listen_addresses=127.0.0.1".into(),
                format!("port={port}"),
                "ssl=on".into(),
                format!("ssl_cert_file={}", self.certificate().display()),
                format!("ssl_key_file={}", self.directory.join("key.pem").display()),
            ]),
        }
        let mut command = self.program("postgres");
        command.arg("-D").arg(self.data()).args(settings.iter().flat_map(|setting| ["-c", setting]));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut postmaster = command.spawn().unwrap();
        let begin = Instant::now();
        while self.try_ask("postgres", "SELECT 1").is_err() {
            // After a `kill -9` it does not start before the last process of the former one has noticed.
            if postmaster.try_wait().unwrap().is_some() {
                postmaster = command.spawn().unwrap();
            }
            let log = || fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(begin.elapsed() < Duration::from_secs(60), "the server does not start:\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.postmaster = Some(postmaster);
    }

    /// `kill -9` of its first process; the others notice and end themselves.
    pub(crate) fn kill(&mut self) {
        let mut postmaster = self.postmaster.take().expect("it runs");
        postmaster.kill().unwrap();
        postmaster.wait().unwrap();
    }

    /// Ends it at once, as a crash would: all sessions are cut off, and it recovers when it starts.
    pub(crate) fn stop_immediately(&mut self) {
        succeeds(self.program("pg_ctl").args(["stop", "--mode=immediate", "--silent", "-D"]).arg(self.data()));
        self.postmaster.take().expect("it runs").wait().unwrap();
    }

    /// A new, empty database.
    pub(crate) fn database(&self) -> String {
        let name = format!("test_{}", denrei_hub::random_token(12).to_lowercase().replace(['-', '_'], "x"));
        self.ask("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    pub(crate) fn url(&self, database: &str) -> String {
        self.url_with(database, Self::PASSWORD)
    }

    pub(crate) fn url_with(&self, database: &str, password: &str) -> String {
        let escaped = |text: &str| {
            text.replace('%', "%25").replace('/', "%2F").replace('@', "%40").replace('?', "%3F").replace(' ', "%20")
        };
        let host = escaped(&self.directory.display().to_string());
        format!("postgres://denrei:{}@{host}/{database}", escaped(password))
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join(format!(".s.PGSQL.{}", self.port.unwrap_or(5432)))
    }

    /// What to believe about the one that can encrypt.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.join("certificate.pem")
    }

    /// The URL of the one that can encrypt.
    pub(crate) fn encrypted_url(&self, database: &str) -> String {
        let port = self.port.expect("it was started so");
        let url = self.url(database);
        let (who, _) = url.split_once('@').expect("it says who");
        format!("{who}@127.0.0.1:{port}/{database}")
    }

    fn certify(&self) {
        let settings = self.directory.join("openssl.cnf");
        let text = "[req]\nprompt = no\ndistinguished_name = name\nx509_extensions = more\n[name]\nCN = test\n\
                    [more]\nbasicConstraints = critical, CA:FALSE\nsubjectAltName = IP:127.0.0.1\n";
        fs::write(&settings, text).unwrap();
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-config"]).arg(&settings);
        succeeds(command.arg("-out").arg(self.certificate()).arg("-keyout").arg(self.directory.join("key.pem")));
    }

    /// Asks as another program would.
    pub(crate) fn ask(&self, database: &str, sql: &str) -> String {
        self.try_ask(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Another program, which is told what to do line by line.
    pub(crate) fn psql(&self, database: &str) -> Command {
        let mut command = Command::new(binaries().join("psql"));
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        command.arg("--host").arg(&self.directory).args(["--username=denrei", "--dbname", database]);
        command.arg(format!("--port={}", self.port.unwrap_or(5432)));
        command.env("PGPASSWORD", Self::PASSWORD);
        command
    }

    fn try_ask(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = self.psql(database).args(["--command", sql]).output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// One of its programs: it refuses to run as root, so as nobody then.
    fn program(&self, name: &str) -> Command {
        let path = binaries().join(name);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir(&self.directory);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        if let Some(mut postmaster) = self.postmaster.take() {
            let _ = postmaster.wait();
        }
        let _ = self.watch.wait();
    }
}

const WATCH: &str = r#"
    cat >/dev/null
    process=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
    if [ -n "$process" ] && [ "$(cat "/proc/$process/comm")" = postgres ]; then
      kill -QUIT "$process"
      for _ in $(seq 200); do [ -e "$1/data/postmaster.pid" ] || break; sleep 0.05; done
    fi
    rm -rf "$1"
"#;

/// Where the newest version is installed that there is.
fn binaries() -> &'static Path {
    static BINARIES: OnceLock<PathBuf> = OnceLock::new();
    BINARIES.get_or_init(|| {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
        let there = versions.map(|entry| entry.path()).filter(|path| path.join("bin/initdb").exists());
        let debian = there.max_by_key(|path| version(path)).map(|path| path.join("bin"));
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let elsewhere = || std::env::split_paths(&paths).find(|path| path.join("initdb").exists());
        debian.or_else(elsewhere).expect("PostgreSQL is installed: tests/prepare sees to it")
    })
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn succeeds(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
