//! Rules by the names of rooms.

use std::str::FromStr;

use denrei_hub::Name;
use denrei_proto::codes::Code;

use crate::identity::Identity;
use crate::policy::{Action, Decision, Policy};
use crate::refusal::Refusal;

/// Decides by the first of its rules whose rooms fit; allows where none does, but for rooms that are some user's own.
#[derive(Clone, Debug, Default)]
pub struct PatternPolicy {
    /// The rules, in their order.
    pub rules: Vec<Rule>,
}

/// Who may do what in the rooms of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The names of rooms: `*` is anything, `{user}` the user's id.
    pub rooms: String,
    /// Who may read; one of them is enough.
    pub read: Vec<Who>,
    /// Who may publish; one of them is enough.
    pub publish: Vec<Who>,
}

/// Somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Who {
    /// Everybody, with or without a token.
    Everyone,
    /// Everybody who has shown to be a user.
    Users,
    /// Users with a role.
    Role(String),
}

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "everyone" => Ok(Self::Everyone),
            "users" => Ok(Self::Users),
            _ => match text.strip_prefix("role:") {
                Some(role) if !role.is_empty() => Ok(Self::Role(role.into())),
                _ => Err(format!("{text} is none of everyone, users and role:NAME")),
            },
        }
    }
}

impl Who {
    fn is(&self, identity: &Identity) -> bool {
        match self {
            Self::Everyone => true,
            Self::Users => identity.user.is_some(),
            Self::Role(role) => identity.has_role(role),
        }
    }
}

impl Policy for PatternPolicy {
    fn allow(&self, identity: &Identity, action: Action<'_>) -> Decision {
        let room = action.room();
        let user = identity.user.as_ref().map(Name::as_str);
        let Some(rule) = self.rules.iter().find(|rule| fits(&rule.rooms, room.as_str(), user)) else {
            // What is some user's own, by a rule, is nobody else's, unless another rule says so.
            let somebodys = |rule: &Rule| fits(&rule.rooms.replace("{user}", "*"), room.as_str(), None);
            return match self.rules.iter().any(somebodys) {
                true => Decision::forbidden("this room is for others"),
                false => Decision::allowed(),
            };
        };
        let who = if action.reads() { &rule.read } else { &rule.publish };
        if who.iter().any(|who| who.is(identity)) {
            return Decision::allowed();
        }
        Decision::Now(Err(Refusal::new(Code::Forbidden, "this room is for others")))
    }
}

/// Whether a name fits a pattern. Time is bounded by the product of their lengths.
pub(crate) fn fits(pattern: &str, name: &str, user: Option<&str>) -> bool {
    // What stands between the stars; none if it names a user and there is nobody. A user's id is no pattern.
    let literal = |part: &str| match user {
        Some(user) => Some(part.replace("{user}", user)),
        None => (!part.contains("{user}")).then(|| part.to_owned()),
    };
    let Some(parts) = pattern.split('*').map(literal).collect::<Option<Vec<_>>>() else { return false };
    let [first, middle @ .., last] = &*parts else { return parts == [name] };
    let Some(mut rest) = name.strip_prefix(&**first) else { return false };
    for part in middle {
        let Some((_, behind)) = rest.split_once(&**part) else { return false };
        rest = behind;
    }
    rest.ends_with(&**last)
}

#[cfg(test)]
mod tests {
    use denrei_hub::RoomName;

    use super::*;

    #[test]
    fn a_star_is_anything_and_user_is_oneself() {
        for (pattern, name, fits_it) in [
            ("live:prices", "live:prices", true),
            ("live:prices", "live:prices:eur", false),
            ("live:prices:*", "live:prices:eur", true),
            ("live:prices:*", "live:prices:", true),
            ("live:prices:*", "live:prices", false),
            ("*", "anything:at all", true),
            ("*:admin", "feed:admin", true),
            ("*:admin", "feed:admins", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("private:{user}", "private:alice", true),
            ("private:{user}", "private:bob", false),
            ("private:{user}:*", "private:alice:notes", true),
            ("*:{user}", "feed:alice", true),
            ("*{user}*", "x-alice-y", true),
        ] {
            assert_eq!(fits(pattern, name, Some("alice")), fits_it, "{pattern} {name}");
        }
        assert!(!fits("private:{user}", "private:", None));
        assert!(!fits("private:{user}*", "private:alice", None));
        // A user's id is no pattern.
        assert!(!fits("private:{user}", "private:alice", Some("*")));
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let who = |text: &str| text.parse::<Who>().expect("somebody");
        let rule = |rooms: &str, read: &[&str], publish: &[&str]| Rule {
            rooms: rooms.into(),
            read: read.iter().copied().map(who).collect(),
            publish: publish.iter().copied().map(who).collect(),
        };
        let policy = PatternPolicy {
            rules: vec![
                rule("private:{user}", &["users"], &["users"]),
                rule("private:*", &["role:support"], &[]),
                rule("news:*", &["everyone"], &["role:editor", "role:admin"]),
            ],
        };
        let alice = Identity { user: Name::parse("alice").ok(), ..Identity::default() };
        let support = Identity { roles: vec!["support".into(), "admin".into()], ..alice.clone() };
        let nobody = Identity::default();
        let may = |identity: &Identity, room: &str, publish: bool| {
            let room = RoomName::parse(room).expect("a name");
            let action = if publish { Action::Publish(&room, "message") } else { Action::Read(&room) };
            matches!(policy.allow(identity, action), Decision::Now(Ok(())))
        };
        assert!(may(&alice, "private:alice", true) && !may(&alice, "private:bob", false));
        assert!(may(&support, "private:bob", false) && !may(&support, "private:bob", true));
        assert!(!may(&nobody, "private:alice", false));
        assert!(
            may(&nobody, "news:today", false) && !may(&alice, "news:today", true) && may(&support, "news:today", true)
        );
        assert!(may(&nobody, "live:other", true));
        let alone = PatternPolicy { rules: vec![rule("private:{user}", &["users"], &["users"])] };
        let room = RoomName::parse("private:alice").expect("a name");
        let bob = Identity { user: Name::parse("bob").ok(), ..Identity::default() };
        for (who, expected) in [(&alice, true), (&bob, false), (&nobody, false)] {
            assert_eq!(matches!(alone.allow(who, Action::Read(&room)), Decision::Now(Ok(()))), expected);
        }
        assert!("role:".parse::<Who>().is_err() && "admins".parse::<Who>().is_err());
    }
}
