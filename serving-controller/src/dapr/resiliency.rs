//! The Dapr Resiliency of a function: its own policies, and the retries of its triggers (goals OU10, TR16).

use std::collections::BTreeMap;

use controller_runtime::{
    names::{self, DNS_LABEL},
    optional::OptionalApi,
};
use openfunction_proto::core::{DaprTrigger, RetryPolicy};
use serde_json::{Value, json};

use super::{app_id, components, metadata, object, triggers};
use crate::validate::{Invalid, Valid};

/// Dapr's Resiliencies.
pub const RESILIENCIES: OptionalApi = OptionalApi { group: "dapr.io", version: "v1alpha1", plural: "resiliencies" };

/// The Resiliency of a revision, if it asks for one. There is one for all revisions of a Function, since Dapr knows them
/// by one name.
pub fn resiliency(valid: &Valid) -> Option<Value> {
    let spec = &valid.serving.spec.serving;
    let triggers: Vec<_> = triggers(spec).into_iter().filter(|trigger| trigger.retry.is_some()).collect();
    if spec.resiliency.is_none() && triggers.is_empty() {
        return None;
    }
    let mut resiliency = spec.resiliency.clone().unwrap_or_default();
    let real = |name: &str, type_: Option<&str>| components::name_of(valid, name, type_);
    let targets = &mut resiliency.targets.components;
    *targets = std::mem::take(targets).into_iter().map(|(name, target)| (real(&name, None), target)).collect();
    for DaprTrigger { name, type_, retry, .. } in triggers {
        let component = real(&name, type_.as_deref());
        let policy = format!("trigger-{component}");
        resiliency.policies.retries.extend(retry.map(|retry| (policy.clone(), retry)));
        let target = resiliency.targets.components.entry(component).or_default();
        target.inbound.get_or_insert_default().retry = Some(policy);
    }
    let name = names::child(&valid.function, "resiliency", DNS_LABEL);
    Some(object("Resiliency", metadata(valid, name, &[]), json!(resiliency), app_id(valid)))
}

/// Looks at the retries of triggers: Dapr has one policy for all that comes from a component.
///
/// # Errors
/// Two triggers on one component with different retries.
pub fn validate_retries(valid: &Valid) -> Result<(), Invalid> {
    let triggers = triggers(&valid.serving.spec.serving);
    let mut known: BTreeMap<String, &RetryPolicy> = BTreeMap::new();
    for (index, trigger) in triggers.iter().enumerate() {
        let Some(retry) = &trigger.retry else { continue };
        let component = components::name_of(valid, &trigger.name, trigger.type_.as_deref());
        if known.insert(component, retry).is_some_and(|other| other != retry) {
            return Err(Invalid::Value {
                path: format!("spec.triggers.dapr[{index}].retry"),
                value: json!(retry).to_string(),
                why: format!(
                    "must be the same for all triggers of component {:?}, since Dapr has one policy for a component",
                    trigger.name
                ),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{testing::Case, validate::validate};

    fn case(resiliency: Value, triggers: Value) -> Case {
        let bus = json!({"type": "pubsub.redis", "version": "v1", "metadata": []});
        Case::new(json!({"pubsub": {"bus": bus}, "resiliency": resiliency, "triggers": {"dapr": triggers}}))
    }

    #[test]
    fn ou10_policies_are_for_the_components_that_dapr_knows() {
        let policies = json!({"timeouts": {"short": "2s"}});
        let asked = json!({"policies": policies, "targets": {"apps": {"other": {"timeout": "short"}}, "components": {
                "bus": {"outbound": {"timeout": "short"}}, "theirs": {"outbound": {"timeout": "short"}}}}});
        let case = case(asked, json!([]));
        let made = resiliency(&case.valid()).unwrap();
        let bus = components::names(&case.valid()).remove(0);
        assert_eq!((&made["kind"], &made["scopes"]), (&json!("Resiliency"), &json!(["hello-shop"])));
        assert_eq!(made["metadata"]["name"], "hello-resiliency");
        let targets = json!({"apps": {"other": {"timeout": "short"}}, "components": {
            bus: {"outbound": {"timeout": "short"}}, "theirs": {"outbound": {"timeout": "short"}}}});
        assert_eq!(made["spec"], json!({"policies": policies, "targets": targets}));
        assert_eq!(resiliency(&self::case(Value::Null, json!([{"name": "bus", "topic": "t"}])).valid()), None);
    }

    #[test]
    fn tr16_a_triggers_retry_is_a_policy_for_what_comes_from_its_component() {
        let retry = json!({"policy": "exponential", "maxInterval": "10s", "maxRetries": 3});
        let case = case(Value::Null, json!([{"name": "bus", "topic": "t", "retry": retry}]));
        let bus = components::names(&case.valid()).remove(0);
        let policy = format!("trigger-{bus}");
        let spec = resiliency(&case.valid()).unwrap()["spec"].clone();
        assert_eq!(
            spec,
            json!({"policies": {"retries": {policy.clone(): retry}}, "targets": {"components": {bus: {"inbound": {"retry": policy}}}}})
        );
    }

    #[test]
    fn tr16_a_component_has_one_retry() {
        let trigger =
            |topic: &str, retries: i32| json!({"name": "bus", "topic": topic, "retry": {"maxRetries": retries}});
        let refused = |triggers: Value| {
            let case = case(Value::Null, triggers);
            validate(&case.serving).err().map(|error| error.to_string())
        };
        assert_eq!(refused(json!([trigger("a", 1), trigger("b", 1), {"name": "bus", "topic": "c"}])), None);
        let said = refused(json!([trigger("a", 1), trigger("b", 2)])).unwrap();
        assert!(said.starts_with("spec.triggers.dapr[1].retry: Invalid value: "), "{said}");
    }
}
