//! A revision's pod template is rendered once, so that neither a newer version of this controller nor an edit of the
//! settings for every function restarts a pod (design §5).

use std::collections::BTreeMap;

use controller_runtime::names::hash;
use kube::{ResourceExt, api::DynamicObject};
use openfunction_proto::core::{PASSED_ON, Serving};
use serde_json::{Value, json};

use crate::validate::Valid;

/// Annotation of a workload with the pod template as it was rendered, and the hash of what it was rendered from.
const RENDERED: &str = "openfunction.io/rendered";
/// Longest note of a template: annotations are limited to 256 KiB. A template that is longer is rendered each time.
const MAX_NOTE: usize = 128 << 10;

/// Hash of what a template is rendered from.
pub fn rendered_from(serving: &Serving) -> String {
    // Not those that say how the object itself was written.
    let is_read = |key: &str| PASSED_ON.contains(&key);
    let annotations: BTreeMap<_, _> = serving.annotations().iter().filter(|(key, _)| is_read(key)).collect();
    match annotations.is_empty() {
        true => hash(&serving.spec.revision()),
        false => hash(&json!([serving.spec.revision(), annotations])),
    }
}

/// The pod template, rendered before or now, and the annotation of the workload that notes it.
pub fn rendered(
    valid: &Valid,
    live: Option<&DynamicObject>,
    render: impl FnOnce() -> Value,
) -> (Value, BTreeMap<String, String>) {
    let from = rendered_from(valid.serving);
    let known = live.and_then(|live| live.annotations().get(RENDERED)).map(String::as_str);
    let before: Option<Value> = known.and_then(|text| serde_json::from_str(text).ok());
    let (template, note) = match before {
        Some(before) if before["from"] == from.as_str() && before["template"].is_object() => {
            (before["template"].clone(), known.unwrap_or_default().to_owned())
        }
        _ => {
            let template = render();
            let note = json!({"from": from, "template": template}).to_string();
            let note = if note.len() > MAX_NOTE { json!({ "from": from }).to_string() } else { note };
            (template, note)
        }
    };
    (template, [(RENDERED.to_owned(), note)].into())
}
