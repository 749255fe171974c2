//! The line of JSON that comes out.

use std::fmt::{self, Write as _};

/// One flat JSON object, keys in the order of insertion.
pub(crate) struct Report(String);

impl Report {
    pub(crate) fn new() -> Self {
        Report(String::from("{"))
    }

    /// Rounded to three digits; not finite becomes null.
    pub(crate) fn number(&mut self, key: &str, value: f64) {
        let rounded = (value * 1000.0).round() / 1000.0;
        if rounded.is_finite() { self.raw(key, &rounded.to_string()) } else { self.raw(key, "null") }
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        let mut quoted = String::from("\"");
        for c in value.chars() {
            match c {
                '"' | '\\' => quoted.extend(['\\', c]),
                c if c < ' ' => drop(write!(quoted, "\\u{:04x}", u32::from(c))),
                c => quoted.push(c),
            }
        }
        quoted.push('"');
        self.raw(key, &quoted);
    }

    /// `value` is JSON already.
    pub(crate) fn raw(&mut self, key: &str, value: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0 += &format!("\"{key}\":{value}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}}}", self.0)
    }
}

#[cfg(test)]
mod tests;
