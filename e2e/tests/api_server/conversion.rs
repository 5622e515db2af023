//! Conversion: the order of start, on a real API server.

use std::{sync::Arc, time::Duration};

use controller_runtime::{
    certificates::{Certificates, Lifetimes},
    tls,
    watch::Shared,
    webhook::{self, BundleTarget, Convert, Webhooks},
};
use e2e::api_server::{ApiServer, install_crds, own_crds};
use k8s_openapi::{ByteString, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
    runtime::watcher,
};
use openfunction_proto::{core::Function, crds};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::support::eventually;

/// A converter for tests: it keeps the other version's spec in an annotation, so that nothing is lost either way.
fn stash() -> Convert {
    const KEPT: &str = "test.openfunction.io/kept";
    Arc::new(|mut object: Value, version: &str| {
        let kept = object.pointer_mut("/metadata/annotations").and_then(|a| a.as_object_mut()?.remove(KEPT));
        let spec = object["spec"].take();
        object["spec"] = match kept.as_ref().and_then(Value::as_str) {
            Some(kept) => serde_json::from_str(kept).map_err(|error| error.to_string())?,
            None => json!({"image": spec["image"], "serving": {"runtime": "async"}}),
        };
        if !object["metadata"]["annotations"].is_object() {
            object["metadata"]["annotations"] = json!({});
        }
        object["metadata"]["annotations"][KEPT] = json!(spec.to_string());
        object["apiVersion"] = json!(version);
        Ok(object)
    })
}

/// Webhooks that are served on a loopback port with certificates of their own.
pub struct Served {
    pub port: u16,
    pub certificates: Arc<Certificates>,
    stop: CancellationToken,
    _tasks: JoinSet<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Serves webhooks as a controller does, but for the address: there are no Services here.
pub async fn serve(client: &Client, name: &'static str, webhooks: Webhooks, lifetimes: Lifetimes) -> Served {
    let hosts = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificates = Arc::new(Certificates::new(client.clone(), crds::NAMESPACE, name, hosts, lifetimes));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let (config, router, stopped) =
        (tls::server_config(certificates.serving(), None).unwrap(), webhooks.router(), stop.clone());
    tasks.spawn(async move { tls::serve(listener, config, router, stopped).await.unwrap() });
    let (kept, client, targets) = (certificates.clone(), client.clone(), webhooks.targets().to_vec());
    tasks.spawn(async move {
        kept.keep(|bundle| {
            let (client, targets) = (client.clone(), targets.clone());
            async move { webhook::publish(&client, name, &targets, &bundle).await }
        })
        .await;
    });
    let mut bundle = certificates.bundle();
    bundle.wait_for(Option::is_some).await.unwrap();
    Served { port, certificates, stop, _tasks: tasks }
}

/// Points the conversion of a CRD to a loopback port.
async fn point(client: &Client, crd: &str, port: u16) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let conversion = json!([{"op": "add", "path": "/spec/conversion", "value": {"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"], "clientConfig": {"url": format!("https://127.0.0.1:{port}/convert")}}}}]);
    crds.patch(crd, &PatchParams::default(), &Patch::<()>::Json(serde_json::from_value(conversion).unwrap()))
        .await
        .unwrap();
}

/// The CRDs of the kinds that have two versions.
const CONVERTED: [(&str, &str); 3] = [
    ("Function", "functions.core.openfunction.io"),
    ("Builder", "builders.core.openfunction.io"),
    ("Serving", "servings.core.openfunction.io"),
];

/// Serves the stashing converter for every kind that has two versions and is installed, on a server that the test has
/// for itself.
pub async fn serve_stash(client: &Client) -> Served {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut webhooks = Webhooks::new();
    for (kind, crd) in CONVERTED {
        if crds.get_opt(crd).await.unwrap().is_some() {
            webhooks = webhooks.convert(kind, crd, stash());
        }
    }
    let targets = webhooks.targets().to_vec();
    let served = serve(client, "stash-controller", webhooks, Lifetimes::default()).await;
    let bundle = served.certificates.bundle().borrow().clone().unwrap();
    for target in targets {
        let BundleTarget::Crd(crd) = &target else { continue };
        point(client, crd, served.port).await;
        eventually("the authority in the CRD", || async {
            webhook::publish(client, "stash-controller", std::slice::from_ref(&target), &bundle).await.unwrap();
            let live = serde_json::to_value(crds.get(crd).await.unwrap()).unwrap();
            (live.pointer("/spec/conversion/webhook/clientConfig/caBundle")
                == Some(&json!(ByteString(bundle.as_bytes().to_vec()))))
            .then_some(())
        })
        .await;
    }
    served
}

/// Objects of a kind in the namespace `default`, as old clients see them.
fn v1beta1(client: &Client, kind: &str, plural: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("core.openfunction.io", "v1beta1", kind);
    Api::default_namespaced_with(client.clone(), &ApiResource::from_gvk_with_plural(&gvk, plural))
}

/// A server of its own, with every CRD and a converter for the kinds that have two versions.
pub async fn converting_server() -> (ApiServer, Client, Served) {
    let server = ApiServer::start().unwrap();
    let client = server.client().await.unwrap();
    install_crds(&client, &own_crds()).await.unwrap();
    let served = serve_stash(&client).await;
    // The API server takes a moment to see a changed conversion.
    for (kind, crd) in CONVERTED {
        let plural = crd.split('.').next().unwrap();
        let old = v1beta1(&client, kind, plural);
        let probe: DynamicObject = serde_json::from_value(json!({"apiVersion": "core.openfunction.io/v1beta1", "kind": kind, "metadata": {"name": "probe"},
            "spec": {"image": "a", "builder": "b", "runtime": "async", "srcRepo": {"url": "u"}, "serving": {"runtime": "async"}}})).unwrap();
        let params = PostParams { dry_run: true, ..PostParams::default() };
        eventually("the conversion works", || async { old.create(&params, &probe).await.ok() }).await;
    }
    (server, client, served)
}

/// Objects were stored as v1beta1 by upstream, and no replica of ours has ever run: the controller must start, convert
/// and list them, although the list needs the conversion that only it can serve.
#[tokio::test(flavor = "multi_thread")]
async fn objects_stored_as_v1beta1_are_listed_by_the_first_replica() {
    let server = ApiServer::start().unwrap();
    let client = server.client().await.unwrap();
    let mut crd = crds::all().into_iter().find(|crd| crd.spec.names.kind == "Function").unwrap();
    let ours = serde_json::to_value(&crd).unwrap();
    crd.spec.conversion = None;
    for version in &mut crd.spec.versions {
        version.storage = version.name == "v1beta1";
    }
    install_crds(&client, &[serde_json::to_value(&crd).unwrap()]).await.unwrap();
    let old = json!({"apiVersion": "core.openfunction.io/v1beta1", "kind": "Function", "metadata": {"name": "old", "namespace": "default"},
        "spec": {"image": "a", "port": 9000, "serving": {"runtime": "knative"}}});
    let v1beta1 = v1beta1(&client, "Function", "functions");
    v1beta1.create(&PostParams::default(), &serde_json::from_value(old).unwrap()).await.unwrap();

    // The upgrade: v1beta2 is stored from now on, and nobody converts yet.
    install_crds(&client, &[ours]).await.unwrap();
    let functions: Api<Function> = Api::default_namespaced(client.clone());
    eventually("the list fails", || async { functions.list(&Default::default()).await.err() }).await;

    // A replica starts: certificates, webhook, CRD, and only then the watch.
    let converting = serve_stash(&client).await;
    let shared = Shared::<Function>::new(None);
    let following = {
        let (shared, client) = (shared.clone(), client.clone());
        tokio::spawn(async move { shared.follow(&client, &[], watcher::Config::default(), |_| {}).await })
    };
    tokio::time::timeout(Duration::from_secs(30), shared.synced()).await.expect("no deadlock");
    let listed: Vec<_> = shared.store().state().iter().map(|f| (f.name_any(), f.spec.image.clone())).collect();
    assert_eq!(listed, [("old".to_owned(), "a".to_owned())]);

    // Nothing was lost: the old client reads what it wrote.
    functions
        .patch("old", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"labels": {"touched": "yes"}}})))
        .await
        .unwrap();
    assert_eq!(v1beta1.get("old").await.unwrap().data["spec"]["port"], 9000);
    following.abort();
    drop(converting);
}
