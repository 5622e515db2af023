//! Objects that are still stored as an older version of their CRD are written anew as the present one, so that the older
//! version can be dropped one day: only what stands in `status.storedVersions` keeps it (KEP-2855).

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Client, Resource,
    api::{ApiResource, ListParams, Patch, PatchParams},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use tracing::info;

use crate::client::{get_part, objects};

/// Objects in one answer of the API server.
const PAGE: u32 = 500;
/// Objects that are written at one time.
const AT_ONCE: usize = 4;

/// What is read of a CRD. Not its schemas: they would take tens of megabytes.
#[derive(Deserialize)]
struct Crd {
    metadata: Metadata,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

#[derive(Deserialize)]
struct Spec {
    group: String,
    names: Names,
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Names {
    kind: String,
    plural: String,
}

#[derive(Deserialize)]
struct Version {
    name: String,
    storage: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    stored_versions: Vec<String>,
}

/// Has every object of a CRD stored as the version that the CRD stores now. Returns how many were written, or `None`
/// if the CRD says that nothing is stored otherwise. The kind must have a status subresource: its empty patch changes
/// nothing but how the object is stored, and no admission webhook is asked for it.
///
/// # Errors
/// Requests that fail. It can be called again; what is stored already is not written again.
pub async fn migrate(client: &Client, manager: &str, name: &str) -> kube::Result<Option<usize>> {
    let Crd { metadata, spec, status } = get_part::<CustomResourceDefinition, Crd>(client, name).await?;
    let Some(Version { name: version, .. }) = spec.versions.into_iter().find(|version| version.storage) else {
        return Ok(None);
    };
    if status.stored_versions == [version.clone()] {
        return Ok(None);
    }
    let resource = ApiResource {
        api_version: format!("{}/{version}", spec.group),
        group: spec.group,
        version: version.clone(),
        kind: spec.names.kind,
        plural: spec.names.plural,
    };
    let all = objects(client, &resource, None);
    let (mut page, mut written) = (ListParams::default().limit(PAGE), 0);
    loop {
        let listed = all.list_metadata(&page).await?;
        written += listed.items.len();
        stream::iter(listed.items.into_iter().map(|object| object.metadata))
            .map(Ok)
            .try_for_each_concurrent(AT_ONCE, async |object| {
                let api = objects(client, &resource, object.namespace.as_deref());
                let name = object.name.unwrap_or_default();
                match api.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({}))).await {
                    Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
                    other => other.map(drop),
                }
            })
            .await?;
        page.continue_token = listed.metadata.continue_.filter(|token| !token.is_empty());
        if page.continue_token.is_none() {
            break;
        }
    }
    // As it was read: what others have begun to store meanwhile is not forgotten.
    let stored =
        json!({"metadata": {"resourceVersion": metadata.resource_version}, "status": {"storedVersions": [version]}});
    let by = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    let crds = kube::core::Request::new(CustomResourceDefinition::url_path(&(), None));
    let request =
        crds.patch_subresource("status", name, &by, &Patch::Merge(stored)).map_err(kube::Error::BuildRequest)?;
    client.request::<IgnoredAny>(request).await?;
    info!(name, version, written, "all objects are stored as the present version");
    Ok(Some(written))
}
