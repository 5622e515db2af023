//! The OpenFunction Gateway of functions that name none: made at start, and removed before the chart is uninstalled.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use controller_runtime::{children, client::describe, names::hash};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    runtime::{
        reflector::ObjectRef,
        wait::{await_condition, conditions::is_deleted},
    },
};
use openfunction_proto::networking::{Gateway, GatewaySpec};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::{ABOUT, Context, Flags};

/// Annotation with the hash of the installation's spec: what users change afterwards is left alone.
const INSTALLED: &str = "networking.openfunction.io/installed-spec";
/// Field manager of the installation.
const MANAGER: &str = "gateway-controller-default";
/// How long a failure is waited out.
const PAUSE: Duration = Duration::from_secs(5);
/// How long the deletion may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// The object that the flags describe.
///
/// # Errors
/// A spec that is none.
pub fn parse(flags: &Flags, namespace: &str) -> anyhow::Result<Option<Value>> {
    if flags.default_gateway.trim().is_empty() {
        return Ok(None);
    }
    let mut spec: Value = serde_json::from_str(&flags.default_gateway).context("--default-gateway is no JSON")?;
    if let Value::Object(fields) = &mut spec {
        fields.entry("clusterDomain").or_insert_with(|| json!(flags.cluster_domain));
    }
    serde_json::from_value::<GatewaySpec>(spec.clone())
        .context("--default-gateway is no spec of an OpenFunction Gateway")?;
    let metadata = json!({
        "name": flags.default_gateway_name, "namespace": namespace,
        "labels": {children::MANAGED_BY: ABOUT.name}, "annotations": {INSTALLED: hash(&spec)},
    });
    Ok(Some(
        json!({"apiVersion": "networking.openfunction.io/v1alpha1", "kind": "Gateway", "metadata": metadata, "spec": spec}),
    ))
}

/// The namespace of the Kubernetes Gateway that a spec names.
pub fn namespace(default: Option<&Value>) -> Option<String> {
    let spec = &default?["spec"];
    let of = |field: &str| spec[field]["namespace"].as_str().map(str::to_owned);
    of("gatewayDef").or_else(|| of("gatewayRef"))
}

/// Makes the default OpenFunction Gateway, and brings a change of the installation's settings to it; for ever.
pub async fn keep(context: &Context, wanted: Option<Value>) {
    if let Some(wanted) = wanted {
        loop {
            match ensure(context, &wanted).await {
                Ok(true) => break,
                // The one before must be gone first.
                Ok(false) => {}
                Err(error) => {
                    warn!("the default OpenFunction Gateway cannot be made, trying again: {}", describe(&error));
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    std::future::pending().await
}

/// Whether there is one now that does not go.
async fn ensure(context: &Context, wanted: &Value) -> kube::Result<bool> {
    let text = |path: &str| wanted.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    context.gateways.synced().await;
    let live = context.gateways.store().get(&ObjectRef::new(name).within(namespace));
    let installed = wanted.pointer("/metadata/annotations").and_then(|annotations| annotations[INSTALLED].as_str());
    if live.as_ref().is_some_and(|live| live.metadata.deletion_timestamp.is_some()) {
        return Ok(false);
    }
    if live.is_some_and(|live| live.annotations().get(INSTALLED).map(String::as_str) == installed) {
        return Ok(true);
    }
    let api: Api<Gateway> = Api::namespaced(context.client.clone(), namespace);
    // Not by force: what a user has set is a conflict, and stays.
    match api.patch(name, &PatchParams::apply(MANAGER), &Patch::Apply(wanted)).await {
        Ok(_) => info!(namespace, name, "the default OpenFunction Gateway is made"),
        Err(kube::Error::Api(status)) if status.is_conflict() => {
            warn!(
                namespace,
                name,
                "the default OpenFunction Gateway was changed by hand, so the installation's settings are not brought to it: {}",
                status.message
            );
        }
        Err(error) => return Err(error),
    }
    Ok(true)
}

/// Deletes the default OpenFunction Gateway and waits until the controller has cleaned up after it.
pub fn delete_default_gateway() -> ExitCode {
    controller_runtime::tls::install_provider();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let deleted = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(delete()));
    match deleted {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn delete() -> anyhow::Result<()> {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| "openfunction".to_owned());
    let (namespace, name) = (variable("POD_NAMESPACE"), variable("DEFAULT_GATEWAY_NAME"));
    let api: Api<Gateway> = Api::namespaced(Client::try_default().await?, &namespace);
    let gateway = match api.get_opt(&name).await {
        Ok(Some(gateway)) => gateway,
        // Neither the object nor its kind: nothing to clean up.
        Ok(None) => return Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    api.delete(&name, &DeleteParams::default()).await?;
    let uid = gateway.uid().unwrap_or_default();
    let gone = await_condition(api, &name, is_deleted(&uid));
    tokio::time::timeout(PATIENCE, gone).await.with_context(|| {
        format!("OpenFunction Gateway {namespace}/{name} is not gone after {PATIENCE:?}: does gateway-controller run?")
    })??;
    Ok(())
}
