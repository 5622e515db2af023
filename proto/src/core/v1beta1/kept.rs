//! What one version of an object says and the other cannot: kept beside the other, and filled in again on the way back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// What has to be done to a value to have another again.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kept {
    /// It is something else, unless it was changed meanwhile.
    Set {
        /// What it is; absent if there is none.
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        to: Option<Value>,
        /// What it is changed from; absent if there is none.
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        was: Option<Value>,
    },
    /// Some of its fields are something else.
    In(BTreeMap<String, Kept>),
    /// Some of its elements, known by their names, are something else.
    Elements {
        /// Names of all, in their order.
        order: Vec<String>,
        /// Those that differ.
        of: BTreeMap<String, Kept>,
    },
}

impl Kept {
    /// What differs below a path of fields.
    pub fn fields(&mut self, path: &[&str]) -> Option<&mut BTreeMap<String, Self>> {
        let Self::In(fields) = self else { return None };
        match path {
            [] => Some(fields),
            [first, rest @ ..] => fields.get_mut(*first)?.fields(rest),
        }
    }
}

/// A null that is given is not a value that is missing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What has to be done to `base` to have `wanted`; `None` if nothing has.
pub fn difference(wanted: Option<&Value>, base: Option<&Value>) -> Option<Kept> {
    if wanted == base {
        return None;
    }
    if let (Some(Value::Object(wanted)), Some(Value::Object(base))) = (wanted, base) {
        let names: BTreeSet<_> = wanted.keys().chain(base.keys()).collect();
        let fields = names
            .into_iter()
            .filter_map(|name| Some((name.clone(), difference(wanted.get(name), base.get(name))?)))
            .collect();
        return Some(Kept::In(fields));
    }
    if let (Some(Value::Array(wanted)), Some(Value::Array(base))) = (wanted, base)
        && let (Some(wanted_by_name), Some(base_by_name)) = (by_name(wanted), by_name(base))
        // What is only in `base` would have to be forgotten, even if somebody wants it meanwhile.
        && base_by_name.keys().all(|name| wanted_by_name.contains_key(name))
    {
        let differ = |(name, value): (&String, &&Value)| {
            Some((name.clone(), difference(Some(value), base_by_name.get(name).copied())?))
        };
        let order = wanted.iter().filter_map(name_of).collect();
        return Some(Kept::Elements { order, of: wanted_by_name.iter().filter_map(differ).collect() });
    }
    Some(Kept::Set { to: wanted.cloned(), was: base.cloned() })
}

/// Fills in what was kept, where it still has a place: what was changed, or whose parent is gone, stays as it is.
pub fn fill(value: Option<Value>, kept: &Kept) -> Option<Value> {
    match (value, kept) {
        (value, Kept::Set { to, was }) => {
            if value == *was {
                to.clone()
            } else {
                value
            }
        }
        (Some(Value::Object(mut fields)), Kept::In(kept)) => {
            for (name, kept) in kept {
                if let Some(filled) = fill(fields.remove(name), kept) {
                    fields.insert(name.clone(), filled);
                }
            }
            Some(Value::Object(fields))
        }
        (Some(Value::Array(elements)), Kept::Elements { order, of }) => Some(fill_elements(elements, order, of)),
        // A list without an element of the other version is not written there.
        (None, Kept::Elements { order, of }) => {
            Some(fill_elements(Vec::new(), order, of)).filter(|filled| *filled != Value::Array(Vec::new()))
        }
        (value, _) => value,
    }
}

fn fill_elements(elements: Vec<Value>, order: &[String], kept: &BTreeMap<String, Kept>) -> Value {
    let Some(mut values) = by_name(&elements).map(|by_name| -> BTreeMap<String, Value> {
        by_name.into_iter().map(|(name, value)| (name, value.clone())).collect()
    }) else {
        return Value::Array(elements);
    };
    for (name, kept) in kept {
        if let Some(filled) = fill(values.remove(name), kept) {
            values.insert(name.clone(), filled);
        }
    }
    let known = order.iter().cloned();
    let names: Vec<_> = known.chain(elements.iter().filter_map(name_of).filter(|name| !order.contains(name))).collect();
    names.iter().filter_map(|name| values.remove(name)).collect()
}

/// Elements by what they are known by, if each has a name that no other has.
fn by_name(elements: &[Value]) -> Option<BTreeMap<String, &Value>> {
    let named: BTreeMap<_, _> =
        elements.iter().map(|element| Some((name_of(element)?, element))).collect::<Option<_>>()?;
    (named.len() == elements.len()).then_some(named)
}

/// What an element of a list is known by: the component and topic of a Dapr input or output, the name of anything else.
fn name_of(element: &Value) -> Option<String> {
    let fields = element.as_object()?;
    let fields = fields.get("dapr").and_then(Value::as_object).unwrap_or(fields);
    let text = |field: &str, of: &Map<String, Value>| of.get(field).and_then(Value::as_str).map(str::to_owned);
    let name = text("component", fields).or_else(|| text("name", fields))?;
    Some(text("topic", fields).map_or(name.clone(), |topic| format!("{name}/{topic}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept(wanted: &Value, base: &Value) -> Kept {
        let kept = difference(Some(wanted), Some(base)).unwrap();
        serde_json::from_value(serde_json::to_value(kept).unwrap()).unwrap()
    }

    fn filled(base: Value, kept: &Kept) -> Value {
        fill(Some(base), kept).unwrap()
    }

    #[test]
    fn what_is_kept_comes_back_where_nothing_was_changed() {
        let wanted =
            json!({"a": {"b": null, "c": [1, 2]}, "list": [{"name": "x", "more": 1}, {"name": "y"}], "gone": {}});
        let base = json!({"a": {"c": [1], "d": 1}, "list": [{"name": "y"}]});
        assert_eq!(filled(base.clone(), &kept(&wanted, &base)), wanted);
    }

    #[test]
    fn what_was_changed_meanwhile_stays_changed() {
        let wanted =
            json!({"a": {"b": 1, "c": 2}, "list": [{"name": "x", "only": 1, "both": 1}, {"name": "y", "only": 2}]});
        let base = json!({"a": {"c": 3}, "list": [{"name": "x", "both": 1}, {"name": "y"}]});
        let kept = kept(&wanted, &base);
        let changed = json!({"a": {"b": 9, "c": 9}, "list": [{"name": "z"}, {"name": "x", "both": 7}]});
        let expected = json!({"a": {"b": 9, "c": 9}, "list": [{"name": "x", "only": 1, "both": 7}, {"name": "z"}]});
        assert_eq!(filled(changed, &kept), expected);
        assert_eq!(filled(json!({"list": []}), &kept), json!({"list": []}), "a parent that is gone stays gone");
    }
}
