//! Names with parts that are not known yet: `/dyn-{id}`.

use crate::socketio::InvalidNamespace;

/// A pattern of names. A part in braces stands for one or more characters that are no slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// What stands before the first part in braces.
    head: Box<str>,
    /// The parts, each with what stands behind it.
    parts: Vec<(Box<str>, Box<str>)>,
}

impl Pattern {
    /// Whether a name is meant as a pattern.
    pub(crate) fn is_meant(name: &str) -> bool {
        name.contains(['{', '}'])
    }

    pub(crate) fn parse(text: &str) -> Result<Self, InvalidNamespace> {
        let invalid = |reason| InvalidNamespace::new(text, reason);
        let (head, mut rest) = text.split_once('{').unwrap_or((text, ""));
        if !head.starts_with('/') {
            return Err(invalid("it begins with a slash"));
        }
        let mut parts: Vec<(Box<str>, Box<str>)> = Vec::new();
        while !rest.is_empty() {
            let (name, behind) = rest.split_once('}').ok_or_else(|| invalid("a brace is not closed"))?;
            let (behind, more) = behind.split_once('{').unwrap_or((behind, ""));
            if name.is_empty() || behind.contains('}') || head.contains('}') {
                return Err(invalid("parts are written {name}"));
            }
            if behind.is_empty() && !more.is_empty() {
                return Err(invalid("something stands between two parts"));
            }
            parts.push((name.into(), behind.into()));
            rest = more;
        }
        if parts.is_empty() {
            return Err(invalid("parts are written {name}"));
        }
        Ok(Self { head: head.into(), parts })
    }

    /// What the parts stand for in a name, if it fits.
    pub(crate) fn matches(&self, name: &str) -> Option<Vec<(Box<str>, Box<str>)>> {
        let mut rest = name.strip_prefix(&*self.head)?;
        let mut found = Vec::with_capacity(self.parts.len());
        for (at, (part, behind)) in self.parts.iter().enumerate() {
            let last = at + 1 == self.parts.len();
            let end = match last {
                true => rest.len().checked_sub(behind.len()).filter(|_| rest.ends_with(&**behind))?,
                // Behind its first character: a part is not empty.
                false => {
                    let first = rest.chars().next()?.len_utf8();
                    rest[first..].find(&**behind)? + first
                }
            };
            let value = &rest[..end];
            if value.is_empty() || value.contains('/') {
                return None;
            }
            found.push((part.clone(), value.into()));
            rest = &rest[end + behind.len()..];
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    fn matches(pattern: &str, name: &str) -> Option<Vec<String>> {
        let found = Pattern::parse(pattern).expect("a pattern").matches(name)?;
        Some(found.iter().map(|(_, value)| value.to_string()).collect())
    }

    #[test]
    fn a_part_stands_for_characters_that_are_no_slash() {
        assert_eq!(matches("/dyn-{id}", "/dyn-7"), Some(vec!["7".into()]));
        assert_eq!(matches("/dyn-{id}", "/dyn-"), None);
        assert_eq!(matches("/dyn-{id}", "/dyn-7/x"), None);
        assert_eq!(matches("/{a}/{b}-x", "/1/2-3-x"), Some(vec!["1".into(), "2-3".into()]));
        assert_eq!(matches("/{a}-{b}", "/é-ü"), Some(vec!["é".into(), "ü".into()]));
        assert_eq!(matches("/{a}/x", "/1/x/x"), None);
    }

    #[test]
    fn a_pattern_that_can_be_read_in_two_ways_is_refused() {
        for text in ["/{a}{b}", "/{", "/}", "/a}{b}", "/{}", "x{a}", "/{a}}"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
