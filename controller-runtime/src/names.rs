//! Deterministic names of children: a retry meets its own object instead of making another (design §5).

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Longest name of an object whose name becomes a label value or a host name: a Service, a Serving, a Function.
pub const DNS_LABEL: usize = 63;
/// Longest name of any other object.
pub const DNS_SUBDOMAIN: usize = 253;

/// The first ten hexadecimal digits of the SHA-256 of a value's canonical JSON.
///
/// Keys are sorted and absent fields are left out, so that the order in which a value was built does not matter.
///
/// # Panics
/// If the value cannot be written as JSON (a map with keys that are no strings).
pub fn hash(value: &impl Serialize) -> String {
    hash_hex(value)[..10].to_owned()
}

/// The full SHA-256 of a value's canonical JSON, in hexadecimal digits.
///
/// # Panics
/// As [`hash`].
pub fn hash_hex(value: &impl Serialize) -> String {
    let json = serde_json::to_value(value).expect("resources are JSON");
    hex(&Sha256::digest(canonical(json).to_string()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sorts the keys of every object. (`serde_json` sorts by itself unless some crate turns on `preserve_order`.)
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(key, value)| (key, canonical(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        other => other,
    }
}

/// `<base>-<suffix>`, at most `limit` characters long and unique for its input.
///
/// A base that is too long is cut and marked with six digits of its own hash, so that two long bases with the same
/// beginning do not meet. Neither part is checked to be a DNS name; a cut never leaves `-` or `.` at the seam.
pub fn child(base: &str, suffix: &str, limit: usize) -> String {
    let full = format!("{base}-{suffix}");
    if full.len() <= limit {
        return full;
    }
    let mark = &hex(&Sha256::digest(base))[..6];
    let room = limit.saturating_sub(suffix.len() + mark.len() + 2);
    let cut: String = base
        .chars()
        .scan(0, |used, c| {
            *used += c.len_utf8();
            (*used <= room).then_some(c)
        })
        .collect();
    format!("{}-{mark}-{suffix}", cut.trim_end_matches(['-', '.']))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_hash_does_not_depend_on_the_order_of_keys() {
        let a: Value = serde_json::from_str(r#"{"b":{"y":1,"x":[2,1]},"a":null}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"a":null,"b":{"x":[2,1],"y":1}}"#).unwrap();
        assert_eq!(hash(&a), hash(&b));
        assert_eq!(hash(&json!({})).len(), 10);
    }

    #[test]
    fn a_known_value_keeps_its_hash() {
        // Names of children are made from it: a change would make every revision again.
        assert_eq!(hash(&json!({"image": "a", "port": 8080})), "ffb4450773");
    }

    #[test]
    fn short_names_are_left_alone() {
        assert_eq!(child("hello", "0123456789", DNS_LABEL), "hello-0123456789");
    }

    #[test]
    fn long_names_with_one_beginning_stay_apart() {
        let (a, b) = ("f".repeat(63), format!("{}g", "f".repeat(62)));
        assert_ne!(child(&a, "x", DNS_LABEL), child(&b, "x", DNS_LABEL));
    }

    proptest! {
        #[test]
        fn names_fit_and_never_end_a_part_with_a_separator(base in "[a-z]([-.a-z0-9]{0,250}[a-z0-9])?", suffix in "[a-f0-9]{1,20}") {
            let name = child(&base, &suffix, DNS_LABEL);
            prop_assert!(name.len() <= DNS_LABEL, "{name}");
            prop_assert!(!name.contains("--") || base.contains("--"), "{name}");
            prop_assert!(name.ends_with(&suffix));
        }
    }
}
