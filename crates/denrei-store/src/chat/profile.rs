//! What is kept of users themselves: who may see their presence, and when they were last there.

use denrei_hub::{LogError, Name};

use super::{Refused, Told};
use crate::group::Group;
use crate::sql::{Fault, Row, Transaction, Value};

/// What is to be kept of a user.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are what they are called")]
pub enum Profile {
    /// Whether another may see the user's presence.
    Contact { user: Name, contact: Name, on: bool },
    /// Whether others are told that the user is there.
    Visible { user: Name, on: bool },
    /// These users were there at these times, in ms since 1970.
    Seen(Vec<(Name, u64)>),
}

/// When a user was last there, as far as was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// In ms since 1970; 0 for never.
    pub at_ms: u64,
    /// Others are not to know.
    pub invisible: bool,
}

/// A profile's change on its way.
pub(crate) struct Profiling {
    profile: Profile,
    outcome: Option<Result<(), Refused>>,
    told: Told<()>,
}

impl Profiling {
    /// Contacts of a user.
    const CONTACTS: u64 = 1000;

    pub(crate) fn new(profile: Profile, told: Told<()>) -> Self {
        Self { profile, outcome: None, told }
    }

    /// About how much memory it holds.
    pub(crate) fn bytes(&self) -> usize {
        match &self.profile {
            Profile::Seen(users) => users.len() * 128,
            Profile::Contact { .. } | Profile::Visible { .. } => 512,
        }
    }

    pub(crate) fn apply(&mut self, group: &mut Group<'_>) -> Result<(), Fault> {
        self.outcome = Some(keep(&group.transaction, &self.profile)?);
        Ok(())
    }

    pub(crate) fn settle(self, outcome: Result<(), LogError>) {
        (self.told)(outcome.and_then(|()| self.outcome.ok_or_else(crate::operation::unanswered)));
    }
}

fn keep(transaction: &Transaction<'_>, profile: &Profile) -> Result<Result<(), Refused>, Fault> {
    match profile {
        Profile::Contact { user, contact, on } => {
            let pair = [Value::Text(user.as_str()), Value::Text(contact.as_str())];
            if !on {
                transaction.execute("DELETE FROM contacts WHERE user_name = $1 AND contact = $2", &pair)?;
                return Ok(Ok(()));
            }
            let sql = "SELECT COUNT(*) FROM contacts WHERE user_name = $1";
            let count = transaction.first(sql, &pair[..1], |row| row.number(0))?;
            if count.is_some_and(|count| count >= Profiling::CONTACTS) {
                return Ok(Err(Refused::Invalid("a user has at most 1,000 contacts")));
            }
            let sql = "INSERT INTO contacts (user_name, contact) VALUES ($1, $2) ON CONFLICT DO NOTHING";
            transaction.execute(sql, &pair)?;
        }
        Profile::Visible { user, on } => {
            let sql = "INSERT INTO presence (user_name, seen_at_ms, invisible) VALUES ($1, 0, $2)
                       ON CONFLICT (user_name) DO UPDATE SET invisible = excluded.invisible";
            transaction.execute(sql, &[Value::Text(user.as_str()), Value::Integer((!on).into())])?;
        }
        Profile::Seen(users) => {
            let mut users: Vec<_> = users.iter().collect();
            // Nodes write the same rows, and lock them in one order.
            users.sort_unstable();
            let many: Vec<_> =
                users.iter().map(|(user, at)| [Value::Text(user.as_str()), Value::number(*at)]).collect();
            let sql = "INSERT INTO presence (user_name, seen_at_ms, invisible) VALUES ($1, $2, 0)
                       ON CONFLICT (user_name) DO UPDATE SET seen_at_ms = CASE
                           WHEN presence.seen_at_ms < excluded.seen_at_ms THEN excluded.seen_at_ms
                           ELSE presence.seen_at_ms END";
            transaction.execute_many(sql, &many)?;
        }
    }
    Ok(Ok(()))
}

pub(super) fn seen(row: &Row<'_>) -> Result<Seen, Fault> {
    Ok(Seen { at_ms: row.number(0)?, invisible: row.number(1)? > 0 })
}
