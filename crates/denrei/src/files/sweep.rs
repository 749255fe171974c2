//! What nobody has any more goes: uploads that were cut off, files that no room has claimed, objects without a row.
//!
//! Each step may be done again, and by several nodes: the lease only saves work.

use std::time::SystemTime;

use denrei_store::objects::{Found, ObjectError};
use futures_util::StreamExt;

use super::{Files, direct_key, is_id, thumbnail_key};
use crate::app::now_ms;
use crate::duty::Duty;

/// Objects that are looked up together.
const TOGETHER: usize = 500;

impl Files {
    /// Keeps house for as long as the server runs.
    pub(crate) async fn run(&self) {
        let duty = Duty::default();
        let sweeping = async {
            let mut tick = tokio::time::interval(self.config.sweep);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                // What came to this machine is this node's own to clean up.
                let lost = SystemTime::now().checked_sub(self.config.lost()).unwrap_or(SystemTime::UNIX_EPOCH);
                if let Err(error) = self.objects.clean(lost).await {
                    tracing::warn!(%error, "what was left of uploads could not be taken away");
                }
                if !duty.is_ours() {
                    continue;
                }
                if let Err(error) = self.sweep(lost).await {
                    tracing::warn!(error, "files that are to go stay for now");
                }
            }
        };
        tokio::join!(duty.run(&self.hub, "files"), sweeping);
    }

    async fn sweep(&self, lost: SystemTime) -> Result<(), String> {
        loop {
            let ended = self.store.end_files(now_ms()).await.map_err(|error| error.to_string())?;
            if ended.is_empty() {
                break;
            }
            self.discard(ended).await?;
        }
        let mut objects = self.objects.list().chunks(TOGETHER);
        while let Some(found) = objects.next().await {
            let found: Result<Vec<Found>, ObjectError> = found.into_iter().collect();
            self.discard_orphans(found.map_err(|error| error.to_string())?, lost).await?;
        }
        Ok(())
    }

    /// Takes away the objects of hidden files, and then their rows.
    pub(super) async fn discard(&self, ids: Vec<Box<str>>) -> Result<(), String> {
        for id in &ids {
            for key in [id.to_string(), thumbnail_key(id), direct_key(id)] {
                self.objects.remove(&key).await.map_err(|error| error.to_string())?;
            }
        }
        self.store.forget_files(ids).await.map_err(|error| error.to_string())
    }

    /// Takes away those old objects that no row knows. What is named otherwise than ours is somebody else's.
    async fn discard_orphans(&self, found: Vec<Found>, lost: SystemTime) -> Result<(), String> {
        let old = found.into_iter().filter(|object| object.written < lost);
        let ours: Vec<(Box<str>, Box<str>)> =
            old.filter_map(|object| Some((id_of(&object.key)?.into(), object.key))).collect();
        if ours.is_empty() {
            return Ok(());
        }
        let ids = ours.iter().map(|(id, _)| id.clone()).collect();
        let known = self.store.known_files(ids).await.map_err(|error| error.to_string())?;
        for ((id, key), known) in ours.into_iter().zip(known) {
            // What was put into the bucket is taken at once, or never.
            if !known || *key == *direct_key(&id) {
                self.objects.remove(&key).await.map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }
}

/// The id of the file that an object belongs to, if its key is one of ours.
fn id_of(key: &str) -> Option<&str> {
    let (id, part) = key.split_once('.').unwrap_or((key, ""));
    (is_id(id) && matches!(part, "" | "thumbnail" | "direct")).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_as_ours_is_ours() {
        let id = "AAAABBBBCCCCDDDDEE-_";
        assert_eq!(id_of(id), Some(id));
        assert_eq!(id_of(&thumbnail_key(id)), Some(id));
        assert_eq!(id_of(&direct_key(id)), Some(id));
        for other in ["", "README.md", "AAAABBBBCCCCDDDDEE-_.txt", "AAAABBBBCCCCDDDDEE-", "AAAABBBBCCCCDDDDEE%2F"] {
            assert_eq!(id_of(other), None, "{other}");
        }
    }
}
