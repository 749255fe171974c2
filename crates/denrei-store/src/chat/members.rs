//! Who is in a room.

use denrei_hub::Name;
use serde_json::json;

use super::change::{Answer, No, Work};
use super::rows::known;
use super::{Member, Refused, Role, Room, RoomKind, room_id};
use crate::sql::{Fault, Value};

impl Work<'_, '_> {
    pub(super) fn create(&mut self, kind: RoomKind, title: &str, members: &[Name]) -> Result<Answer, No> {
        let user = self.user()?.clone();
        if self.is_there()? {
            return Err(Refused::Conflict("there is a room with this id already").into());
        }
        self.make(kind, title)?;
        self.add(&user, self.by.name.clone().as_deref(), Role::Owner)?;
        for member in members.iter().filter(|member| **member != user) {
            if self.find(member)?.is_none() {
                self.add(member, None, Role::Member)?;
            }
        }
        self.answer()
    }

    pub(super) fn direct(&mut self, other: &Name) -> Result<Answer, No> {
        let user = self.user()?.clone();
        if !self.is_there()? {
            self.make(RoomKind::Direct, "")?;
            self.add(&user, self.by.name.clone().as_deref(), Role::Member)?;
            self.add(other, None, Role::Member)?;
        }
        self.answer()
    }

    pub(super) fn update(&mut self, title: Option<&str>, slow_mode_ms: Option<u64>) -> Result<Answer, No> {
        self.at_least(Role::Moderator)?;
        if let Some(title) = title {
            let sql = "UPDATE chat_rooms SET title = $1 WHERE room_id = $2";
            self.execute(sql, &[Value::Text(title), Value::Integer(self.room)])?;
        }
        if let Some(ms) = slow_mode_ms {
            let sql = "UPDATE chat_rooms SET slow_mode_ms = $1 WHERE room_id = $2";
            self.execute(sql, &[Value::number(ms), Value::Integer(self.room)])?;
        }
        let room = Room { own: None, ..self.now_is()? };
        self.tell("roomUpdated", super::json(&room))?;
        self.answer()
    }

    pub(super) fn join(&mut self, create: bool) -> Result<Answer, No> {
        if !self.is_there()? {
            if !create {
                return Err(Refused::NoRoom.into());
            }
            self.make(RoomKind::Public, "")?;
            if let Some(user) = self.by.user.clone() {
                self.add(&user, self.by.name.clone().as_deref(), Role::Owner)?;
            }
            return self.answer();
        }
        // Which private rooms there are only members know, and admins.
        self.access()?.read()?;
        // Guests are members of none.
        if let Some(user) = self.by.user.clone()
            && self.find(&user)?.is_none()
        {
            let role = if self.count()? == 0 { Role::Owner } else { Role::Member };
            self.add(&user, self.by.name.clone().as_deref(), role)?;
        }
        self.answer()
    }

    pub(super) fn leave(&mut self) -> Result<Answer, No> {
        let access = self.access()?;
        let user = self.user()?.clone();
        let Some(member) = self.find(&user)? else { return Err(Refused::NotMember.into()) };
        if access.kind == RoomKind::Direct {
            return Err(Refused::Forbidden("a direct room is never left").into());
        }
        self.remove(&user, "left")?;
        if member.role == Role::Owner {
            self.pass_on()?;
        }
        Ok(Answer::Done {})
    }

    pub(super) fn invite(&mut self, user: &Name) -> Result<Answer, No> {
        let access = self.at_least(Role::Member)?;
        match access.kind {
            RoomKind::Public => {}
            RoomKind::Private => drop(access.at_least(Role::Moderator)?),
            RoomKind::Direct => return Err(Refused::Forbidden("a direct room is of two users").into()),
        }
        if self.is_banned(user)? {
            return Err(Refused::Conflict("the user is banned from the room").into());
        }
        if self.find(user)?.is_none() {
            self.add(user, None, Role::Member)?;
        }
        self.answer()
    }

    pub(super) fn set_role(&mut self, user: &Name, role: Role) -> Result<Answer, No> {
        let access = self.at_least(Role::Owner)?;
        if access.kind == RoomKind::Direct {
            return Err(Refused::Forbidden("a direct room has no roles").into());
        }
        let before = self.member(user)?;
        let sql = "UPDATE chat_members SET role = $1 WHERE room_id = $2 AND user_name = $3";
        self.execute(sql, &[Value::Text(role.as_str()), Value::Integer(self.room), Value::Text(user.as_str())])?;
        if before.role == Role::Owner && role != Role::Owner {
            self.pass_on()?;
        }
        self.tell_of(user)
    }

    pub(super) fn mute(&mut self, user: &Name, until_ms: u64) -> Result<Answer, No> {
        self.is_above(user)?;
        self.member(user)?;
        let sql = "UPDATE chat_members SET muted_until_ms = $1 WHERE room_id = $2 AND user_name = $3";
        self.execute(sql, &[Value::number(until_ms), Value::Integer(self.room), Value::Text(user.as_str())])?;
        self.tell_of(user)
    }

    pub(super) fn kick(&mut self, user: &Name) -> Result<Answer, No> {
        if self.is_above(user)?.kind == RoomKind::Direct {
            return Err(Refused::Forbidden("nobody is sent away from a direct room").into());
        }
        self.member(user)?;
        self.remove(user, "kicked")?;
        Ok(Answer::Done {})
    }

    pub(super) fn ban(&mut self, user: &Name, until_ms: u64, reason: Option<&str>) -> Result<Answer, No> {
        let access = self.is_above(user)?;
        if access.kind == RoomKind::Direct {
            return Err(Refused::Forbidden("nobody is banned from a direct room").into());
        }
        let sql = "INSERT INTO chat_bans (room_id, user_name, banned_by, banned_at_ms, until_ms, reason)
                   VALUES ($1, $2, $3, $4, $5, $6)
                   ON CONFLICT (room_id, user_name) DO UPDATE SET banned_by = excluded.banned_by,
                       banned_at_ms = excluded.banned_at_ms, until_ms = excluded.until_ms, reason = excluded.reason";
        let (by, now) = (Value::Text(self.by.id()), Value::number(self.now));
        let (user_id, until) = (Value::Text(user.as_str()), Value::number(until_ms));
        self.execute(sql, &[Value::Integer(self.room), user_id, by, now, until, Value::Maybe(reason)])?;
        match self.find(user)? {
            Some(_) => self.remove(user, "banned")?,
            // Who only reads is shown out too.
            None => self.changed.removed = Some((user.clone(), "banned")),
        }
        Ok(Answer::Done {})
    }

    pub(super) fn unban(&mut self, user: &Name) -> Result<Answer, No> {
        self.at_least(Role::Moderator)?;
        let sql = "DELETE FROM chat_bans WHERE room_id = $1 AND user_name = $2";
        match self.execute(sql, &[Value::Integer(self.room), Value::Text(user.as_str())])? {
            0 => Err(Refused::Missing("the user is not banned").into()),
            _ => Ok(Answer::Done {}),
        }
    }

    fn is_there(&self) -> Result<bool, Fault> {
        let sql = "SELECT room_id FROM chat_rooms WHERE room_id = $1";
        Ok(self.group.transaction.first(sql, &[Value::Integer(self.room)], |_| Ok(()))?.is_some())
    }

    fn make(&mut self, kind: RoomKind, title: &str) -> Result<(), Fault> {
        let by = self.by.shown_id();
        let sql =
            "INSERT INTO chat_rooms (room_id, kind, title, created_by, created_at_ms, sequence, active_at_ms, members,
                       slow_mode_ms)
                   VALUES ($1, $2, $3, $4, $5, 0, $5, 0, 0)";
        let (kind, title) = (Value::Text(kind.as_str()), Value::Text(title));
        self.execute(sql, &[Value::Integer(self.room), kind, title, Value::Text(by), Value::number(self.now)]).map(drop)
    }

    pub(super) fn find(&self, user: &Name) -> Result<Option<Member>, No> {
        match self.member(user) {
            Ok(member) => Ok(Some(member)),
            Err(No::Refused(_)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    fn is_banned(&self, user: &Name) -> Result<bool, Fault> {
        let sql = "SELECT until_ms FROM chat_bans WHERE room_id = $1 AND user_name = $2
                   AND (until_ms > $3 OR until_ms = 0)";
        let values = [Value::Integer(self.room), Value::Text(user.as_str()), Value::number(self.now)];
        Ok(self.group.transaction.first(sql, &values, |_| Ok(()))?.is_some())
    }

    /// Whether they may keep order over somebody.
    fn is_above(&self, user: &Name) -> Result<super::rows::Access, No> {
        let access = self.at_least(Role::Moderator)?;
        let own = access.at_least(Role::Moderator)?;
        if self.by.user.as_ref() == Some(user) {
            return Err(Refused::Invalid("nobody does this to themselves").into());
        }
        match self.find(user)? {
            Some(member) if member.role >= own && !self.by.admin => {
                Err(Refused::Forbidden("the member's role is not below yours").into())
            }
            _ => Ok(access),
        }
    }

    /// Makes somebody a member, for whom everything that is there has been read.
    fn add(&mut self, user: &Name, name: Option<&str>, role: Role) -> Result<(), Fault> {
        let sql = "DELETE FROM chat_left WHERE room_id = $1 AND user_name = $2 RETURNING muted_until_ms, sent_at_ms";
        let values = [Value::Integer(self.room), Value::Text(user.as_str())];
        let left = self.group.transaction.first(sql, &values, |row| Ok((row.number(0)?, row.number(1)?)))?;
        let (muted, sent) = left.unwrap_or_default();
        let sql =
            "INSERT INTO chat_members (room_id, user_name, shown_name, role, joined_at_ms, read_sequence, read_at_ms,
                       delivered_sequence, delivered_at_ms, unread_from, muted_until_ms, sent_at_ms)
                   SELECT room_id, CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS BIGINT), sequence,
                       CAST($4 AS BIGINT), sequence, CAST($4 AS BIGINT), 0, CAST($5 AS BIGINT), CAST($6 AS BIGINT)
                   FROM chat_rooms WHERE room_id = $7";
        let (id, name) = (Value::Text(user.as_str()), Value::Maybe(name));
        let (role, now, room) = (Value::Text(role.as_str()), Value::number(self.now), Value::Integer(self.room));
        self.execute(sql, &[id, name, role, now, Value::number(muted), Value::number(sent), room])?;
        self.execute("UPDATE chat_rooms SET members = members + 1 WHERE room_id = $1", &[room])?;
        let mut payload = json!({ "userId": user.as_str(), "room": room_id(self.log), "members": self.count()? });
        match name {
            Value::Maybe(Some(name)) => payload["userName"] = name.into(),
            _ if self.by.user.as_ref() != Some(user) => payload["by"] = self.by.id().into(),
            _ => {}
        }
        self.tell("userJoined", payload.to_string())?;
        self.changed.added.push(user.clone());
        Ok(())
    }

    fn remove(&mut self, user: &Name, reason: &'static str) -> Result<(), Fault> {
        let (room, id) = (Value::Integer(self.room), Value::Text(user.as_str()));
        // Leaving ends neither a mute nor the wait of slow mode.
        let sql = "INSERT INTO chat_left (room_id, user_name, muted_until_ms, sent_at_ms)
                   SELECT m.room_id, m.user_name, m.muted_until_ms, m.sent_at_ms
                   FROM chat_members AS m JOIN chat_rooms AS c ON c.room_id = m.room_id
                   WHERE m.room_id = $1 AND m.user_name = $2
                       AND (m.muted_until_ms > $3 OR (c.slow_mode_ms > 0 AND m.sent_at_ms + c.slow_mode_ms > $3))";
        self.execute(sql, &[room, id, Value::number(self.now)])?;
        for table in ["chat_members", "chat_mentions"] {
            self.execute(&format!("DELETE FROM {table} WHERE room_id = $1 AND user_name = $2"), &[room, id])?;
        }
        self.execute("UPDATE chat_rooms SET members = members - 1 WHERE room_id = $1", &[room])?;
        let members = self.count()?;
        let mut payload = json!({
            "userId": user.as_str(), "room": room_id(self.log), "members": members, "reason": reason
        });
        if reason != "left" {
            payload["by"] = self.by.id().into();
        }
        self.tell("userLeft", payload.to_string())?;
        self.changed.removed = Some((user.clone(), reason));
        Ok(())
    }

    fn count(&self) -> Result<u64, Fault> {
        let sql = "SELECT members FROM chat_rooms WHERE room_id = $1";
        let count = self.group.transaction.first(sql, &[Value::Integer(self.room)], |row| row.number(0))?;
        count.ok_or_else(|| Fault::Operation("the room has gone".into()))
    }

    /// A room with members has an owner: if there is none, the oldest moderator is one, or else the oldest member.
    fn pass_on(&mut self) -> Result<(), No> {
        let (mut heir, room) = (None, Value::Integer(self.room));
        for role in [Role::Owner, Role::Moderator, Role::Member] {
            let sql = "SELECT user_name FROM chat_members WHERE room_id = $1 AND role = $2
                       ORDER BY joined_at_ms, user_name LIMIT 1";
            let oldest = self.group.transaction.first(sql, &[room, Value::Text(role.as_str())], |row| {
                known(row.text(0)?, |id| Name::parse(id).ok())
            })?;
            if oldest.is_some() {
                heir = oldest.filter(|_| role != Role::Owner);
                break;
            }
        }
        let Some(heir) = heir else { return Ok(()) };
        let sql = "UPDATE chat_members SET role = 'owner' WHERE room_id = $1 AND user_name = $2";
        self.execute(sql, &[room, Value::Text(heir.as_str())])?;
        self.tell_of(&heir).map(drop)
    }

    fn tell_of(&mut self, user: &Name) -> Result<Answer, No> {
        let member = self.member(user)?;
        let room = format!("\"room\":{}", json!(room_id(self.log)));
        self.tell("memberUpdated", super::with_fields(super::json(&member.clone().without_marks()), &room))?;
        Ok(Answer::Member(member))
    }

    fn answer(&mut self) -> Result<Answer, No> {
        Ok(Answer::Room(Box::new(self.now_is()?)))
    }
}
