//! How often somebody may ask: `[rates]`.

use denrei::{Rate, Rates};

use crate::file;

/// Puts together what was said. In development mode nothing is limited that was not asked for.
pub(super) fn resolve(file: file::Rates, development: bool) -> Result<Rates, String> {
    const CLASSES: [&str; 7] = ["request", "join", "poll", "publish", "direct", "call", "event"];
    for name in file.costs.keys() {
        let (class, event) = name.split_once(':').map_or((name.as_str(), None), |(class, event)| (class, Some(event)));
        let known = CLASSES.contains(&class) && (event.is_none() || matches!(class, "publish" | "event"));
        if !known {
            return Err(format!("rates.costs: {name} is none of {}, publish:NAME and event:NAME", CLASSES.join(", ")));
        }
    }
    if !file.enabled.unwrap_or(!development) {
        return Ok(Rates::default());
    }
    let rate = |name: &str, said: Option<file::Rate>, capacity: u32, refill_per_second: f64| match said {
        Some(said) if said.capacity == 0 || !(said.refill_per_second.is_finite() && said.refill_per_second > 0.0) => {
            Err(format!("rates.{name}: capacity is 1 or more, refill_per_second more than 0"))
        }
        Some(file::Rate { capacity, refill_per_second }) => Ok(Some(Rate { capacity, refill_per_second })),
        None => Ok(Some(Rate { capacity, refill_per_second })),
    };
    Ok(Rates {
        connection: rate("connection", file.connection, 100, 20.0)?,
        user: rate("user", file.user, 200, 40.0)?,
        address: rate("address", file.address, 2000, 400.0)?,
        connect: rate("connect", file.connect, 500, 100.0)?,
        refusals: rate("refusals", file.refusals, 100, 1.0)?,
        costs: file.costs,
    })
}
