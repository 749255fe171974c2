//! Texts with placeholders, split once and rendered for every message.

use std::io::Write as _;

/// A text with placeholders: `{payload}` (put in when it is parsed), `{room}` `{i}` `{id}` `{seq}` `{cursor}`.
#[derive(Clone, Debug)]
pub(crate) struct Template(Vec<Part>);

/// What the placeholders stand for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Values<'a> {
    /// The message's number, eight digits.
    pub(crate) seq: u64,
    /// The room's number, written as `r0000`.
    pub(crate) room: usize,
    /// The connection's number.
    pub(crate) i: usize,
    /// The request's number, no padding.
    pub(crate) id: u64,
    /// Where a long poll goes on.
    pub(crate) cursor: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Placeholder {
    Seq,
    Room,
    I,
    Id,
    Cursor,
}

const PLACEHOLDERS: [(&str, Placeholder); 5] = [
    ("{seq}", Placeholder::Seq),
    ("{room}", Placeholder::Room),
    ("{i}", Placeholder::I),
    ("{id}", Placeholder::Id),
    ("{cursor}", Placeholder::Cursor),
];

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Literal(Vec<u8>),
    Value(Placeholder),
}

impl Template {
    /// Braces that are no placeholder stay as they are: JSON is full of them.
    pub(crate) fn parse(text: &str, payload: &str) -> Template {
        let text = text.replace("{payload}", payload);
        let mut parts = Vec::new();
        let mut literal = 0;
        let mut at = 0;
        while let Some(brace) = text[at..].find('{').map(|found| found + at) {
            let known = PLACEHOLDERS.iter().find(|(name, _)| text[brace..].starts_with(name));
            let Some((name, placeholder)) = known else {
                at = brace + 1;
                continue;
            };
            parts.push(Part::Literal(text[literal..brace].into()));
            parts.push(Part::Value(*placeholder));
            at = brace + name.len();
            literal = at;
        }
        parts.push(Part::Literal(text[literal..].into()));
        parts.retain(|part| *part != Part::Literal(Vec::new()));
        Template(parts)
    }

    pub(crate) fn render(&self, out: &mut Vec<u8>, values: Values<'_>) {
        for part in &self.0 {
            let written = match part {
                Part::Literal(bytes) => out.write_all(bytes),
                Part::Value(Placeholder::Seq) => write!(out, "{:08}", values.seq),
                Part::Value(Placeholder::Room) => write!(out, "r{:04}", values.room),
                Part::Value(Placeholder::I) => write!(out, "{}", values.i),
                Part::Value(Placeholder::Id) => write!(out, "{}", values.id),
                Part::Value(Placeholder::Cursor) => write!(out, "{}", values.cursor),
            };
            written.expect("a vector takes every write");
        }
    }

    pub(crate) fn text(&self, values: Values<'_>) -> String {
        let mut bytes = Vec::new();
        self.render(&mut bytes, values);
        String::from_utf8(bytes).expect("parts of a text, cut at braces")
    }
}

#[cfg(test)]
mod tests;
