//! Who may do what where: `[policy]`.

use std::time::Duration;

use denrei::{OnFailure, PatternPolicy, Policy, Rule, Webhook, Who};

use super::millis;
use crate::file;

/// Puts together what was said.
pub(super) fn resolve(file: file::Policy) -> Result<Box<dyn Policy>, String> {
    let rules = file
        .rules
        .into_iter()
        .enumerate()
        .map(|(number, rule)| parse(rule).map_err(|error| format!("policy.rules, number {}: {error}", number + 1)));
    let patterns = PatternPolicy { rules: rules.collect::<Result<_, _>>()? };
    let Some(webhook) = file.webhook else { return Ok(Box::new(patterns)) };
    denrei::check_address(&webhook.url).map_err(|error| format!("policy.webhook.url: {error}"))?;
    Ok(Box::new(Webhook {
        first: patterns,
        url: webhook.url,
        timeout: millis("policy.webhook.timeout_ms", webhook.timeout_ms)?.unwrap_or(Duration::from_secs(2)),
        on_failure: match webhook.on_failure {
            file::OnFailure::Refuse => OnFailure::Refuse,
            file::OnFailure::Allow => OnFailure::Allow,
        },
        publishing: webhook.publishing.unwrap_or(false),
    }))
}

fn parse(rule: file::Rule) -> Result<Rule, String> {
    let who = |said: Vec<String>| said.iter().map(|who| who.parse::<Who>()).collect::<Result<Vec<_>, _>>();
    Ok(Rule { rooms: rule.rooms, read: who(rule.read)?, publish: who(rule.publish)? })
}
