//! What JSON says, however it is written.

use serde_json::Value;

/// Whether two values are the same to JavaScript. `serde_json` may read a number's last bit wrong, and another parser
/// does not tell -0 from 0.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= a.abs() * 1e-12 + f64::MIN_POSITIVE * 4.0,
            _ => false,
        },
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// The value of a text; none where it has numbers or surrogates that no Rust value has.
pub(crate) fn value(json: &[u8]) -> Option<Value> {
    serde_json::from_slice(json).ok()
}
