//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use denrei::NewToken;
use denrei_hub::Name;

use crate::config::{self, S3Key};
use crate::file::LogFormat;
use crate::{doctor, file, secret, serve};

/// Realtime rooms that keep order and let clients resume, over WebSocket, SSE and polling.
#[derive(Parser)]
#[command(name = "denrei", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server.
    Serve {
        #[command(flatten)]
        options: Options,
    },
    /// Look at everything that the server would run on, and say what to do. Changes nothing.
    Doctor {
        #[command(flatten)]
        options: Options,
        /// Print what was found as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a token that says who somebody is, and nothing else.
    Token {
        #[command(flatten)]
        options: Options,
        /// The user's id.
        #[arg(long)]
        user: String,
        /// The user's name, for people.
        #[arg(long)]
        name: Option<String>,
        /// A role; may be given several times.
        #[arg(long)]
        role: Vec<String>,
        /// How long it is valid: a number with s, m, h or d.
        #[arg(long, default_value = "1h", value_parser = duration)]
        ttl: Duration,
    },
    /// Print the settings that most servers have, as a file to begin with; or check a file.
    Config {
        /// Print every setting, with its default.
        #[arg(long, conflicts_with = "check")]
        all: bool,
        /// Say whether this file is in order.
        #[arg(long, value_name = "FILE")]
        check: Option<PathBuf>,
    },
}

/// Settings that are needed before there is a file; each also stands in the file.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Address and port to listen on [default: 127.0.0.1:8080].
    #[arg(long, env = "DENREI_LISTEN", value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Folder for the database and the generated secret [default: ./denrei-data].
    #[arg(long, env = "DENREI_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Settings [default: ./denrei.toml, if there is one].
    #[arg(long, env = "DENREI_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where stored rooms are kept: sqlite:PATH, or postgres://USER:PASSWORD@HOST:PORT/DATABASE, better from the environment:
    /// a command line can be read by others [default: sqlite:DATA/denrei.db].
    #[arg(long, env = "DENREI_STORE", value_name = "URL", hide_env_values = true)]
    pub(crate) store: Option<String>,
    /// Joins this server with others, which have the same: redis://HOST:PORT, rediss:// or nats://HOST:PORT, several with
    /// commas in between. They share one PostgreSQL [default: none, this server is alone].
    #[arg(long, env = "DENREI_BUS", value_name = "URL", hide_env_values = true)]
    pub(crate) bus: Option<String>,
    /// This server's name among them; SERVER_ID says it as well [default: a new one at each start].
    #[arg(long, env = "DENREI_NODE_ID", value_name = "NAME")]
    pub(crate) node_id: Option<String>,
    /// Where the others reach this server [default: http://LISTEN, if that is one address].
    #[arg(long, env = "DENREI_ADVERTISE", value_name = "URL")]
    pub(crate) advertise: Option<String>,
    /// How much is logged, in words such as info, debug or denrei_hub=trace [default: info].
    #[arg(long, env = "DENREI_LOG", value_name = "LEVEL")]
    pub(crate) log: Option<String>,
    /// How it is logged [default: auto: for people in a terminal, JSON lines otherwise].
    #[arg(long, env = "DENREI_LOG_FORMAT", value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// What scrapers of metrics bring, at least 16 characters. Only from the environment, as the secret.
    #[arg(skip)]
    pub(crate) metrics_token: Option<String>,
    /// What tokens are signed with, at least 32 bytes. Only from the environment: a command line can be read by others.
    #[arg(skip)]
    pub(crate) secret: Option<String>,
    /// The key for S3, from the environment for the same reason.
    #[arg(skip)]
    pub(crate) s3: S3Key,
}

impl Cli {
    pub(crate) fn run(self) -> Result<(), String> {
        match self.command {
            Command::Serve { options } => {
                let options = options.checked()?;
                serve::run(config::resolve(&options)?, options)
            }
            Command::Doctor { options, json } => doctor::run(&options.complete()?, json),
            Command::Token { options, user, name, role, ttl } => {
                let settings = config::resolve(&options.checked()?)?;
                let user = Name::parse(&user).map_err(|error| format!("--user: {error}"))?;
                // As the server that has the same settings wants it.
                let tokens = &settings.config.access.tokens;
                let (issuer, audience) = (tokens.issuer.as_deref(), tokens.audience.first().map(String::as_str));
                let new = NewToken { name: name.as_deref(), roles: &role, ttl, issuer, audience, user: &user };
                say(&secret::find_or_make(&settings)?.mint(&new)?);
                Ok(())
            }
            Command::Config { check: None, all } => {
                say(if all { file::DEFAULTS } else { file::STARTER }.trim_end());
                Ok(())
            }
            Command::Config { check: Some(path), .. } => {
                config::resolve(&Options { config: Some(path.clone()), ..Options::default() })?;
                say(&format!("{} is in order", path.display()));
                Ok(())
            }
        }
    }
}

impl Options {
    /// With what else the environment says, if it says nothing that was meant otherwise.
    fn checked(self) -> Result<Self, String> {
        for name in config::check_environment()? {
            eprintln!("denrei: {name} in the environment means nothing");
        }
        self.complete()
    }

    /// With what else the environment says.
    pub(crate) fn complete(self) -> Result<Self, String> {
        Ok(Self {
            store: self.store.map_or_else(|| secret::of_file("DENREI_STORE_FILE"), |store| Ok(Some(store)))?,
            bus: self.bus.map_or_else(|| secret::of_file("DENREI_BUS_FILE"), |bus| Ok(Some(bus)))?,
            secret: secret::from_environment()?,
            metrics_token: secret::metrics_token()?,
            s3: S3Key::from_environment(),
            node_id: self.node_id.or_else(config::server_id),
            ..self
        })
    }
}

/// Prints for people and scripts; a closed pipe is nobody's error.
pub(crate) fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("a number with s, m, h or d, such as 90s or 1h".into()),
    };
    let number: u64 = number.parse().map_err(|_| "a number with s, m, h or d, such as 90s or 1h".to_owned())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "too long".into())
}
