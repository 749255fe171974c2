//! What was meant by a setting that does not exist.

use clap::Args;

use crate::cli::Options;

/// What `toml` says of a file that cannot be read, and of unknown settings, which one was meant.
pub(super) fn explain(text: &str, error: &toml::de::Error) -> String {
    const UNKNOWN: &str = "unknown field `";
    let Some((setting, expected)) = error.message().strip_prefix(UNKNOWN).and_then(|rest| rest.split_once('`')) else {
        return error.to_string();
    };
    let (before, rest) = text.split_at(error.span().map_or(0, |span| span.start.min(text.len())));
    let (above, begun) = before.rsplit_once('\n').unwrap_or(("", before));
    let line = before.matches('\n').count() + 1;
    let is_table = begun.starts_with('[') || begun.is_empty() && rest.starts_with('[');
    let table = above.lines().rev().find(|line| line.trim_start().starts_with('[')).filter(|_| !is_table);
    let table = table.map(|line| line.trim().trim_matches(['[', ']']).to_owned() + ".").unwrap_or_default();
    // "expected one of `a`, `b`": each second part is a name.
    let meant = nearest(setting, expected.split('`').skip(1).step_by(2));
    match meant {
        Some(meant) => format!("line {line}: unknown setting {table}{setting}; did you mean {meant}?"),
        None => format!("line {line}: unknown setting {table}{setting}; `denrei config --all` prints them"),
    }
}

/// What is read besides the variables of flags.
const OTHERS: [&str; 6] = [
    "DENREI_SECRET",
    "DENREI_SECRET_FILE",
    "DENREI_STORE_FILE",
    "DENREI_BUS_FILE",
    "DENREI_METRICS_TOKEN",
    "DENREI_METRICS_TOKEN_FILE",
];

/// Looks at what begins with `DENREI_` in the environment; returns the names that mean nothing.
///
/// # Errors
/// One is nearly another that does mean something.
pub(crate) fn check_environment() -> Result<Vec<String>, String> {
    let mut meaningless = Vec::new();
    let command = Options::augment_args(clap::Command::new("denrei"));
    let mut known: Vec<String> = OTHERS.map(Into::into).into();
    let of_flags = command.get_arguments().filter_map(|argument| argument.get_env());
    known.extend(of_flags.map(|name| name.to_string_lossy().into_owned()));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let Some(word) = name.strip_prefix("DENREI_").filter(|_| known.iter().all(|known| *known != *name)) else {
            continue;
        };
        if let Some(meant) = nearest(word, known.iter().map(|known| &known["DENREI_".len()..])) {
            return Err(format!("environment: {name} means nothing; did you mean DENREI_{meant}?"));
        }
        meaningless.push(name.into_owned());
    }
    Ok(meaningless)
}

/// The name that is most like a word, if one is like it.
fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, name) = names.map(|name| (distance(word, name), name)).min()?;
    (distance <= (word.chars().count() / 3).max(1)).then_some(name)
}

/// How many letters to insert, leave out, change, or swap with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            let swapped = if swapped { rows[i - 2][j - 2] + 1 } else { usize::MAX };
            row.push(changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1).min(swapped));
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_is_nearly_one_is_told_which_and_where() {
        let said = |text: &str| super::super::parse(text).err().unwrap();
        for (text, told) in [
            (
                "[limits]\nmesage_bytes = 5\n",
                "line 2: unknown setting limits.mesage_bytes; did you mean message_bytes?",
            ),
            ("\n\nlitsen = \"x\"", "line 3: unknown setting litsen; did you mean listen?"),
            ("[limit]\nrooms = 1\n", "line 1: unknown setting limit; did you mean limits?"),
            ("[chat]\nfrobnicate = 1\n", "line 2: unknown setting chat.frobnicate; `denrei config --all` prints them"),
        ] {
            assert_eq!(said(text), told);
        }
        assert!(said("[limits]\nmessage_bytes = \"x\"\n").contains("invalid type"));
    }

    #[test]
    fn a_name_is_near_when_a_third_of_it_is_wrong_at_most() {
        let names = || ["STORE", "BUS", "NODE_ID"].into_iter();
        for (word, name) in [
            ("STOER", Some("STORE")),
            ("NODEID", Some("NODE_ID")),
            ("BUSS", Some("BUS")),
            ("BIN", None),
            ("SEED", None),
        ] {
            assert_eq!(nearest(word, names()), name, "{word}");
        }
    }
}
