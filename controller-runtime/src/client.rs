//! Clients for the API server.

use std::{sync::Arc, time::Duration};

use kube::{
    Api, Client, Config, Resource,
    api::{ApiResource, DynamicObject, GetParams},
    client::ClientBuilder,
};
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::metrics::{CountRequests, Metrics};

/// Time limit of one request of the lease's client.
pub const LEASE_REQUEST: Duration = Duration::from_secs(5);

/// The two clients of a controller.
#[derive(Clone)]
pub struct Clients {
    /// For everything but the lease; counted, and tried again when the API server is overloaded.
    pub work: Client,
    /// For the lease, and for questions about callers: it has connections of its own and never tries again, since a late
    /// renewal is worse than none.
    pub lease: Client,
}

impl Clients {
    /// Clients from the pod's service account or from `KUBECONFIG`.
    ///
    /// # Errors
    /// One sentence that says which configuration is missing or bad.
    pub async fn infer(metrics: &Metrics) -> anyhow::Result<Self> {
        let config = Config::infer().await.map_err(|error| {
            anyhow::anyhow!(
                "there is no way to an API server: run in a pod with a service account, or set KUBECONFIG ({error})"
            )
        })?;
        Self::from_config(config, metrics)
    }

    /// Clients of a known configuration.
    ///
    /// # Errors
    /// Certificates or addresses that cannot be used.
    pub fn from_config(config: Config, metrics: &Metrics) -> anyhow::Result<Self> {
        let mut lease = config.clone();
        lease.default_retry = false;
        lease.connect_timeout = Some(LEASE_REQUEST);
        lease.read_timeout = Some(LEASE_REQUEST);
        lease.write_timeout = Some(LEASE_REQUEST);
        // Otherwise the idle time between two renewals would count against the time limit for reading.
        lease.reset_reader_on_write = true;
        let mut work = config;
        work.connect_timeout = Some(Duration::from_secs(10));
        // A connection to a machine that lost power is given up; a watch gets a bookmark every minute.
        work.read_timeout = Some(Duration::from_secs(300));
        work.reset_reader_on_write = true;
        let counting = CountRequests(Arc::new(metrics.clone()));
        Ok(Self {
            work: ClientBuilder::try_from(work)?.with_layer(&counting).build(),
            lease: ClientBuilder::try_from(lease)?.build(),
        })
    }
}

/// Objects of a kind in a namespace, or of all without one.
pub fn objects(client: &Client, resource: &ApiResource, namespace: Option<&str>) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

/// Gets a part of an object without a namespace: of a CRD, all of it would take tens of megabytes as values.
pub(crate) async fn get_part<K: Resource<DynamicType = ()>, T: DeserializeOwned>(
    client: &Client,
    name: &str,
) -> kube::Result<T> {
    let request = kube::core::Request::new(K::url_path(&(), None)).get(name, &GetParams::default());
    client.request(request.map_err(kube::Error::BuildRequest)?).await
}

/// Waits until the API server answers. Each failure is one line in the log; waiting goes on, since only time can help.
pub async fn wait_for_api_server(client: &Client) {
    let mut pause = Duration::from_millis(500);
    while let Err(error) = client.apiserver_version().await {
        warn!("the API server does not answer, trying again in {pause:?}: {}", describe(&error));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(15));
    }
}

/// The whole chain of an error in one line: the client's outermost message often says only "service error".
pub fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let boxed = error.downcast_ref::<Box<kube::Error>>().map(|error| &**error);
        let of_client = error.downcast_ref::<kube::Error>().or(boxed);
        let text = of_client.map_or_else(|| error.to_string(), told);
        if !parts.iter().any(|known| known.contains(&text)) {
            parts.push(text);
        }
        // Beneath an answer of the API server there is only the answer.
        next = error.source().filter(|_| !matches!(of_client, Some(kube::Error::Api(_))));
    }
    parts.join(": ").replace('\n', " ")
}

/// What an error of the client says, for people: of the API server's answer only its message, or all that is wrong with
/// an object, in an order that is the same each time (that of CEL rules is not).
pub fn told(error: &kube::Error) -> String {
    let kube::Error::Api(status) = error else { return error.to_string() };
    let causes = status.details.iter().flat_map(|details| &details.causes).filter(|cause| !cause.field.is_empty());
    let mut causes: Vec<_> = causes.map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    if causes.is_empty() || !status.is_invalid() {
        return status.message.clone();
    }
    causes.sort();
    causes.dedup();
    causes.join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_with_an_object_is_told_once_in_the_same_order() {
        let said = |causes: [&str; 2]| {
            let causes = causes.map(|field| json!({"reason": "FieldValueInvalid", "message": "no", "field": field}));
            let status = json!({"status": "Failure", "message": "HTTPRoute \"f\" is invalid: …", "reason": "Invalid", "code": 422,
                "details": {"name": "f", "causes": causes}});
            describe(&kube::Error::Api(serde_json::from_value(status).unwrap()))
        };
        assert_eq!(said(["spec.b", "spec.a"]), "spec.a: no; spec.b: no");
        assert_eq!(said(["spec.a", "spec.b"]), said(["spec.b", "spec.a"]));
    }
}
