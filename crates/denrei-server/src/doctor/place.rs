//! Where things are kept: the data folder and the database.

use std::path::{Path, PathBuf};

use denrei_store::examine;
use rustix::fs::{Access, access, statfs, statvfs};

use super::{Report, amount};
use crate::config::{Database, Settings};

const TIGHT: u64 = 1 << 30;
const FULL: u64 = 64 << 20;

/// Whether the data folder is there or can be made, with room and on a disk of this machine.
pub(super) fn folder(report: &mut Report, settings: &Settings) {
    let folder = absolute(&settings.data);
    let Some(nearest) = folder.ancestors().find(|folder| folder.exists()) else { return };
    let shown = folder.display();
    if !nearest.is_dir() || access(nearest, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let finding = format!("{shown} cannot be written to");
        return report.error(
            "folder",
            finding,
            "give it to the user that runs the server, or name another with --data",
        );
    }
    let found = if nearest == folder { "is there" } else { "will be made" };
    let Ok(space) = statvfs(nearest) else { return };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let finding = format!("{shown} {found}, {} free", amount(free));
    match free {
        ..FULL => report.error("folder", finding, "make room: nothing stored can be acknowledged on a full disk"),
        FULL..TIGHT => report.warn("folder", finding, "make room"),
        _ => report.ok("folder", finding),
    }
}

/// Whether the database can be used. How far its clock is ahead, if it has one.
pub(super) fn database(report: &mut Report, settings: &Settings) -> Option<i64> {
    match &settings.database {
        Database::Sqlite(path) => {
            sqlite(report, &absolute(path));
            None
        }
        Database::Postgres(url) => match examine::postgres(url) {
            Ok(found) => {
                let round = found.round_trip.as_secs_f64() * 1000.0;
                let commit = found.synchronous_commit;
                let finding = format!(
                    "{url}: PostgreSQL {}, {round:.1} ms there and back, synchronous_commit = {commit} where denrei does not \
                     say on",
                    found.version
                );
                if found.fsync == "off" {
                    let advice = "fsync = on in postgresql.conf";
                    report.warn(
                        "store",
                        format!("{finding}; fsync is off: a power cut may lose what was acknowledged"),
                        advice,
                    );
                } else if round > 20.0 {
                    report.warn(
                        "store",
                        finding,
                        "keep the database near: each group of messages is three round trips",
                    );
                } else {
                    report.ok("store", finding);
                }
                Some(found.ahead_ms)
            }
            Err(error) => {
                report.error(
                    "store",
                    error.to_string(),
                    "see that it runs, and that user, password and database are right",
                );
                None
            }
        },
    }
}

fn sqlite(report: &mut Report, path: &Path) {
    let shown = path.display();
    if let Some(network) = path.ancestors().find(|part| part.exists()).and_then(network_filesystem) {
        let finding = format!("{shown} is on {network}, whose locks and fsync SQLite cannot rely on");
        report.warn("store", finding, "keep it on a disk of this machine, or use PostgreSQL");
    }
    if !path.exists() {
        return report.ok("store", format!("{shown} will be made"));
    }
    match examine::sqlite(path) {
        Ok(Some(found)) if found.check == "ok" => {
            let size = amount(std::fs::metadata(path).map_or(0, |file| file.len()));
            let finding =
                format!("{shown}: SQLite {}, {size}, journal {}, in order", found.version, found.journal_mode);
            report.ok("store", finding);
        }
        Ok(Some(found)) => {
            let finding = format!("{shown} is damaged: {}", found.check);
            report.error("store", finding, "stop the server and restore it from a copy");
        }
        Ok(None) => {
            let finding = format!("{shown} was not closed, and is not looked into");
            report.warn("store", finding, "start the server: it puts it in order");
        }
        Err(error) => {
            let finding = format!("{shown} cannot be read: {error}");
            report.error("store", finding, "run this as the user that runs the server, and see that it is a database");
        }
    }
}

/// The kind of filesystem, where it is one over the network: their magic numbers in `statfs(2)`.
fn network_filesystem(path: &Path) -> Option<&'static str> {
    let kind = u64::try_from(statfs(path).ok()?.f_type).ok()? & 0xffff_ffff;
    Some(match kind {
        0x6969 => "NFS",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x0102_1997 => "9P",
        0x00c3_6400 => "Ceph",
        0x6573_5546 => "FUSE",
        _ => return None,
    })
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
