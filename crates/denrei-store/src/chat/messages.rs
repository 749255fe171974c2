//! What becomes of messages.

use denrei_hub::Name;
use serde_json::json;
use serde_json::value::RawValue;

use super::change::{Answer, No, Work};
use super::{Marked, Message, Refused, Role, rows};
use crate::sql::{Fault, Rows, Transaction, Value};

/// Emoji that a message may have.
const EMOJI: usize = 20;

/// Lets go of the messages that a room's events up to a number have brought: a message lives as long as its event.
pub(crate) fn forget(transaction: &Transaction<'_>, room: i64, seq: i64) -> Result<(), Fault> {
    let mut last = None;
    // Both numbers ascend together; so many events go at once at most.
    let sql = "SELECT sequence, seq FROM chat_messages WHERE room_id = $1 ORDER BY sequence LIMIT 1001";
    transaction.each(sql, &[Value::Integer(room)], |row| {
        if row.integer(1)? > seq {
            return Ok(Rows::Enough);
        }
        last = Some(row.integer(0)?);
        Ok(Rows::More)
    })?;
    let Some(last) = last else { return Ok(()) };
    for table in ["chat_messages", "chat_reactions", "chat_reaction_sums", "chat_mentions", "chat_message_events"] {
        let sql = format!("DELETE FROM {table} WHERE room_id = $1 AND sequence <= $2");
        transaction.execute(&sql, &[Value::Integer(room), Value::Integer(last)])?;
    }
    Ok(())
}

impl Work<'_, '_> {
    pub(super) fn edit(
        &mut self,
        sequence: u64,
        content: &str,
        data: Option<&RawValue>,
        mentions: Option<&[Name]>,
        version: Option<u64>,
    ) -> Result<Answer, No> {
        let message = self.theirs(sequence)?;
        if message.deleted_at.is_some() {
            return Err(Refused::Conflict("the message is deleted").into());
        }
        if version.is_some_and(|version| version != message.version) {
            return Err(Refused::Conflict("the message has been edited since").into());
        }
        self.may_speak()?;
        // What is not said stays.
        let data = data.or(message.data.as_deref()).map(RawValue::get);
        let sql = "UPDATE chat_messages SET version = version + 1, edited_at_ms = $1, data = $2, content = $3
                   WHERE room_id = $4 AND sequence = $5";
        let (room, at) = (Value::Integer(self.room), Value::number(sequence));
        let values = [Value::number(self.now), Value::Maybe(data), Value::Text(content), room, at];
        if self.execute(sql, &values)? == 0 {
            return Err(Refused::Missing("there is no such message").into());
        }
        if let Some(mentions) = mentions {
            self.mention(sequence, mentions)?;
        }
        self.tell_message(sequence, "edited")
    }

    /// Says whom a message mentions now.
    fn mention(&self, sequence: u64, users: &[Name]) -> Result<(), No> {
        let mut mentioned: Vec<&str> = Vec::new();
        for user in users {
            if self.find(user)?.is_some() && !mentioned.contains(&user.as_str()) {
                mentioned.push(user.as_str());
            }
        }
        let named = (!mentioned.is_empty()).then(|| json!(mentioned).to_string());
        let (room, at) = (Value::Integer(self.room), Value::number(sequence));
        let sql = "UPDATE chat_messages SET mentions = $1 WHERE room_id = $2 AND sequence = $3";
        self.execute(sql, &[Value::Maybe(named.as_deref()), room, at])?;
        self.execute("DELETE FROM chat_mentions WHERE room_id = $1 AND sequence = $2", &[room, at])?;
        let rows: Vec<_> = mentioned.iter().map(|user| [room, Value::Text(user), at]).collect();
        self.group.transaction.insert_many("chat_mentions (room_id, user_name, sequence)", &rows)?;
        Ok(())
    }

    pub(super) fn delete(&mut self, sequence: u64) -> Result<Answer, No> {
        let access = self.at_least(Role::Member)?;
        let message = self.message(sequence)?;
        let is_own = self.by.user.as_ref().is_some_and(|user| *message.user_id == *user.as_str());
        if !is_own {
            access.at_least(Role::Moderator)?;
        }
        if message.deleted_at.is_some() {
            return Ok(Answer::Message(Box::new(message)));
        }
        let (room, at) = (Value::Integer(self.room), Value::number(sequence));
        let sql = "UPDATE chat_messages SET version = version + 1, deleted_at_ms = $1, mentions = NULL, data = NULL,
                       content = '' WHERE room_id = $2 AND sequence = $3";
        self.execute(sql, &[Value::number(self.now), room, at])?;
        for table in ["chat_mentions", "chat_reactions", "chat_reaction_sums"] {
            self.execute(&format!("DELETE FROM {table} WHERE room_id = $1 AND sequence = $2"), &[room, at])?;
        }
        // What it said is in the log too: in the event that brought it, and in those that told of changes.
        let tombstone = super::json(&self.message(sequence)?);
        let sql = "UPDATE events SET payload = $1 WHERE room_id = $2
                       AND seq IN (SELECT seq FROM chat_messages WHERE room_id = $2 AND sequence = $3)";
        self.execute(sql, &[Value::Bytes(&tombstone), room, at])?;
        let tombstone = super::with_fields(tombstone, "\"change\":\"deleted\"");
        let sql = "UPDATE events SET payload = $1 WHERE room_id = $2
                       AND seq IN (SELECT seq FROM chat_message_events WHERE room_id = $2 AND sequence = $3)";
        self.execute(sql, &[Value::Bytes(&tombstone), room, at])?;
        self.execute("DELETE FROM chat_message_events WHERE room_id = $1 AND sequence = $2", &[room, at])?;
        self.tell_message(sequence, "deleted")
    }

    pub(super) fn react(&mut self, sequence: u64, emoji: &str, on: bool) -> Result<Answer, No> {
        self.at_least(Role::Member)?;
        let user = self.user()?.clone();
        let message = self.message(sequence)?;
        if message.deleted_at.is_some() {
            return Err(Refused::Conflict("the message is deleted").into());
        }
        self.may_speak()?;
        let before = message.reactions.iter().find(|reaction| &*reaction.emoji == emoji);
        if on && before.is_none() && message.reactions.len() >= EMOJI {
            return Err(Refused::Invalid("a message has at most 20 emoji").into());
        }
        let (room, at, name) = (Value::Integer(self.room), Value::number(sequence), Value::Text(emoji));
        let changed = if on {
            let sql = "INSERT INTO chat_reactions (room_id, sequence, emoji, user_name, reacted_at_ms)
                       VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
            self.execute(sql, &[room, at, name, Value::Text(user.as_str()), Value::number(self.now)])?
        } else {
            let sql = "DELETE FROM chat_reactions
                       WHERE room_id = $1 AND sequence = $2 AND emoji = $3 AND user_name = $4";
            self.execute(sql, &[room, at, name, Value::Text(user.as_str())])?
        };
        if changed == 0 {
            return Ok(Answer::Message(Box::new(message)));
        }
        self.sum(sequence, emoji, before.map_or(0, |before| before.count), on)?;
        self.tell_reactions(sequence)
    }

    /// Sums the reactions of one kind, of which there is one more or less than there were.
    fn sum(&self, sequence: u64, emoji: &str, before: u64, on: bool) -> Result<(), Fault> {
        /// Users that a sum names.
        const FIRST: u64 = 10;
        let (room, at, emoji) = (Value::Integer(self.room), Value::number(sequence), Value::Text(emoji));
        let total = if on { before + 1 } else { before.saturating_sub(1) };
        if total == 0 {
            let sql = "DELETE FROM chat_reaction_sums WHERE room_id = $1 AND sequence = $2 AND emoji = $3";
            return self.execute(sql, &[room, at, emoji]).map(drop);
        }
        let sql = "SELECT user_name FROM chat_reactions WHERE room_id = $1 AND sequence = $2 AND emoji = $3
                   ORDER BY reacted_at_ms, user_name LIMIT $4";
        let mut first = Vec::new();
        self.group.transaction.each(sql, &[room, at, emoji, Value::number(FIRST)], |row| {
            first.push(row.text(0)?.to_owned());
            Ok(Rows::More)
        })?;
        let sql =
            "INSERT INTO chat_reaction_sums (room_id, sequence, emoji, total, first_users) VALUES ($1, $2, $3, $4, $5)
                   ON CONFLICT (room_id, sequence, emoji) DO UPDATE SET total = excluded.total,
                       first_users = excluded.first_users";
        let first = json!(first).to_string();
        self.execute(sql, &[room, at, emoji, Value::number(total), Value::Text(&first)]).map(drop)
    }

    pub(super) fn mark_unread(&mut self, sequence: u64) -> Result<Answer, No> {
        self.at_least(Role::Member)?;
        let user = self.user()?.clone();
        self.message(sequence)?;
        let sql = "UPDATE chat_members SET unread_from = $1 WHERE room_id = $2 AND user_name = $3";
        let values = [Value::number(sequence), Value::Integer(self.room), Value::Text(user.as_str())];
        if self.execute(sql, &values)? == 0 {
            return Err(Refused::NotMember.into());
        }
        let room = self.now_is()?;
        let own = room.own.ok_or(Refused::NotMember)?;
        Ok(Answer::Mark(Marked {
            room_id: room.id,
            sequence: own.read,
            last: room.sequence,
            unread: own.unread,
            mentions: own.mentions,
            moved: true,
            members: room.members,
        }))
    }

    fn message(&self, sequence: u64) -> Result<Message, No> {
        let message = rows::one(&self.group.transaction, self.room, self.log, sequence)?;
        Ok(message.ok_or(Refused::Missing("there is no such message"))?)
    }

    /// A message that is theirs who want the change.
    fn theirs(&self, sequence: u64) -> Result<Message, No> {
        self.at_least(Role::Member)?;
        let message = self.message(sequence)?;
        match &self.by.user {
            Some(user) if *message.user_id == *user.as_str() => Ok(message),
            _ => Err(Refused::Forbidden("only its author may edit a message").into()),
        }
    }

    /// Whether no mute holds back what they say.
    fn may_speak(&self) -> Result<(), No> {
        let muted = self.find(self.user()?)?.and_then(|member| member.muted_until);
        match muted.filter(|until| *until > self.now) {
            Some(until) => Err(Refused::Muted(until).into()),
            None => Ok(()),
        }
    }

    /// Tells of a message that has changed, and remembers where what it says was told.
    fn tell_message(&mut self, sequence: u64, change: &str) -> Result<Answer, No> {
        let message = self.message(sequence)?;
        let fields = format!("\"change\":{}", json!(change));
        let seq = self.tell("messageUpdated", super::with_fields(super::json(&message), &fields))?;
        if message.deleted_at.is_none() {
            let sql = "INSERT INTO chat_message_events (room_id, sequence, seq) VALUES ($1, $2, $3)";
            self.execute(sql, &[Value::Integer(self.room), Value::number(sequence), Value::number(seq)])?;
        }
        Ok(Answer::Message(Box::new(message)))
    }

    /// Tells how members have reacted to a message, and nothing of what it says.
    fn tell_reactions(&mut self, sequence: u64) -> Result<Answer, No> {
        let message = self.message(sequence)?;
        let Message { id, sequence, room_id, version, reactions, .. } = &message;
        let told = json!({
            "id": id, "sequence": sequence, "roomId": room_id, "version": version, "change": "reactions",
            "reactions": reactions
        });
        self.tell("messageUpdated", told.to_string())?;
        Ok(Answer::Message(Box::new(message)))
    }
}
