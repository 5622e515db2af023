//! Listeners that the original has put on a Kubernetes Gateway (networking §6, §7). It wrote them by update: nothing of them
//! would go when nobody asks for it any more, unless they are ours (design §3).

use controller_runtime::apply::{ApplyError, adopt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use kube::{Api, Resource, ResourceExt};
use openfunction_proto::{gateway_api::resources::KubernetesGateway, networking::Gateway};
use serde_json::{Map, Value, json};

use super::{
    effective,
    listeners::{INJECTED_BEFORE, injected_before},
    manager,
};
use crate::Context;

/// Stands for the original where it shares a manager with others, as `manager`, which many call themselves.
const ORIGINAL: &str = "openfunction.io/original";

/// Listeners of an OpenFunction Gateway that the original has put on a Kubernetes Gateway. Its annotation, which anybody may
/// edit, gives no right to others (N07).
fn left(gateway: &Gateway, kubernetes: &KubernetesGateway) -> Vec<String> {
    let mut left = injected_before(kubernetes);
    if left.is_empty() {
        return left;
    }
    let ours = effective(gateway);
    left.retain(|name| ours.iter().any(|listener| listener.name == *name));
    left
}

/// Whether the original has put listeners of an OpenFunction Gateway on a Kubernetes Gateway.
pub fn has_left(gateway: &Gateway, kubernetes: &KubernetesGateway) -> bool {
    !left(gateway, kubernetes).is_empty()
}

/// Makes what the original has put on a Kubernetes Gateway ours. Whether there was something.
///
/// # Errors
/// What the API server answers; a conflict if the object changes meanwhile.
pub async fn take_over(
    gateway: &Gateway,
    kubernetes: &KubernetesGateway,
    context: &Context,
) -> Result<bool, ApplyError> {
    let names = left(gateway, kubernetes);
    if names.is_empty() {
        return Ok(false);
    }
    let name = kubernetes.name_any();
    let failed = |source| ApplyError::Api {
        kind: KubernetesGateway::kind(&()).into_owned(),
        name: name.clone(),
        source: Box::new(source),
    };
    let namespace = kubernetes.namespace().unwrap_or_default();
    let api: Api<KubernetesGateway> = Api::namespaced(context.client.clone(), &namespace);
    let Some(mut live) = api.get_opt(&name).await.map_err(failed)? else { return Ok(false) };
    live.metadata.managed_fields = live.metadata.managed_fields.map(|fields| apart(fields, &names));
    adopt(&api, &live, &[ORIGINAL], &manager(gateway), None).await.map_err(failed)?;
    Ok(true)
}

/// Sets the annotation and the listeners of some names apart in the entry of who wrote the annotation.
fn apart(fields: Vec<ManagedFieldsEntry>, names: &[String]) -> Vec<ManagedFieldsEntry> {
    let annotation = format!("f:{INJECTED_BEFORE}");
    let is_named = |key: &str| names.iter().any(|name| key == format!("k:{}", json!({ "name": name })));
    let mut parts = Vec::new();
    for mut entry in fields {
        let mut take = |parent: &str, is_taken: &dyn Fn(&str) -> bool| -> Map<String, Value> {
            let own = entry.fields_v1.as_mut().filter(|_| entry.operation.as_deref() == Some("Update"));
            let own = own.and_then(|own| own.0.pointer_mut(parent)?.as_object_mut());
            let Some(own) = own else { return Map::new() };
            let (taken, rest) = std::mem::take(own).into_iter().partition(|(key, _)| is_taken(key));
            *own = rest;
            taken
        };
        let annotations = take("/f:metadata/f:annotations", &|key| key == annotation);
        if !annotations.is_empty() {
            let listeners = take("/f:spec/f:listeners", &is_named);
            let taken = json!({"f:metadata": {"f:annotations": annotations}, "f:spec": {"f:listeners": listeners}});
            let manager = Some(ORIGINAL.to_owned());
            parts.push(ManagedFieldsEntry { manager, fields_v1: Some(FieldsV1(taken)), ..entry.clone() });
        }
        parts.push(entry);
    }
    parts
}
