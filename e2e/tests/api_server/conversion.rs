//! Conversion: the order of start, on a real API server.

use std::{sync::Arc, time::Duration};

use controller_runtime::{
    certificates::{Certificates, Lifetimes},
    storage, tls,
    watch::Shared,
    webhook::{self, BundleTarget, Webhooks},
};
use e2e::api_server::{ApiServer, install_crds, own_crds};
use k8s_openapi::{ByteString, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
    runtime::watcher,
};
use openfunction_proto::{
    core::{Function, v1beta1},
    crds,
};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::support::eventually;

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

/// Makes requests, numbered from 1, at a rate per second while the certificate authority is rotated and some afterwards; how
/// many, and the errors.
pub async fn while_rotating<T: Send + 'static, R>(
    served: &Served,
    rate: u32,
    afterwards: usize,
    request: impl Fn(usize) -> R,
) -> (usize, Vec<kube::Error>)
where
    R: Future<Output = kube::Result<T>> + Send + 'static,
{
    let before = served.certificates.bundle().borrow().clone().unwrap();
    let mut bundle = served.certificates.bundle();
    let mut requests = JoinSet::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
    let rotated = async {
        served.certificates.rotate();
        // Added, then the old one dropped: no certificate of before is left.
        bundle.wait_for(|now| now.as_ref().is_some_and(|now| !now.contains(before.as_str()))).await.unwrap();
    };
    let mut rotated = std::pin::pin!(rotated);
    let (mut sent, mut last) = (0, usize::MAX);
    while sent < last {
        tokio::select! {
            () = &mut rotated, if last == usize::MAX => last = sent + afterwards,
            _ = tick.tick() => {
                sent += 1;
                requests.spawn(request(sent));
            }
        }
    }
    (sent, requests.join_all().await.into_iter().filter_map(Result::err).collect())
}

/// Points the conversion of a CRD to a loopback port.
pub async fn point(client: &Client, crd: &str, port: u16) {
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

/// Serves the conversion for every kind that has two versions and is installed, on a server that the test has
/// for itself.
pub async fn serve_conversion(client: &Client) -> Served {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut webhooks = Webhooks::new();
    for (kind, crd) in CONVERTED {
        if crds.get_opt(crd).await.unwrap().is_some() {
            webhooks = webhooks.convert(kind, crd, Arc::new(v1beta1::convert));
        }
    }
    let targets = webhooks.targets().to_vec();
    let lifetimes = Lifetimes { propagation: Duration::from_secs(3), ..Lifetimes::default() };
    let served = serve(client, "conversion", webhooks, lifetimes).await;
    let bundle = served.certificates.bundle().borrow().clone().unwrap();
    for target in targets {
        let BundleTarget::Crd(crd) = &target else { continue };
        point(client, crd, served.port).await;
        eventually("the authority in the CRD", || async {
            webhook::publish(client, "conversion", std::slice::from_ref(&target), &bundle).await.unwrap();
            let live = serde_json::to_value(crds.get(crd).await.unwrap()).unwrap();
            (live.pointer("/spec/conversion/webhook/clientConfig/caBundle")
                == Some(&json!(ByteString(bundle.as_bytes().to_vec()))))
            .then_some(())
        })
        .await;
    }
    served
}

/// Objects of a kind, as old clients see them.
fn old(client: &Client, namespace: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("core.openfunction.io", "v1beta1", kind);
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk_with_plural(&gvk, plural))
}

/// A server of its own, with every CRD and the conversion of the kinds that have two versions.
pub async fn converting_server() -> (ApiServer, Client, Served) {
    let server = ApiServer::start().unwrap();
    let client = server.client().await.unwrap();
    install_crds(&client, &own_crds()).await.unwrap();
    let served = serve_conversion(&client).await;
    // The API server takes a moment to see a changed conversion.
    for (kind, crd) in CONVERTED {
        let plural = crd.split('.').next().unwrap();
        let functions = old(&client, "default", kind, plural);
        let probe: DynamicObject = serde_json::from_value(json!({"apiVersion": "core.openfunction.io/v1beta1", "kind": kind, "metadata": {"name": "probe"},
            "spec": {"image": "a", "builder": "b", "runtime": "async", "srcRepo": {"url": "u"}, "serving": {"runtime": "async"}}})).unwrap();
        let params = PostParams { dry_run: true, ..PostParams::default() };
        eventually("the conversion works", || async { functions.create(&params, &probe).await.ok() }).await;
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
    let stored = json!({"apiVersion": "core.openfunction.io/v1beta1", "kind": "Function", "metadata": {"name": "old", "namespace": "default"},
        "spec": {"image": "a", "port": 9000, "serving": {"runtime": "knative"}}});
    let old_functions = old(&client, "default", "Function", "functions");
    old_functions.create(&PostParams::default(), &serde_json::from_value(stored).unwrap()).await.unwrap();

    // The upgrade: v1beta2 is stored from now on, and nobody converts yet.
    install_crds(&client, &[ours]).await.unwrap();
    let functions: Api<Function> = Api::default_namespaced(client.clone());
    eventually("the list fails", || async { functions.list(&Default::default()).await.err() }).await;

    // A replica starts: certificates, webhook, CRD, and only then the watch.
    let converting = serve_conversion(&client).await;
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
    assert_eq!(old_functions.get("old").await.unwrap().data["spec"]["port"], 9000);
    following.abort();
    drop(converting);
}

/// What is stored is read again where nobody converts.
#[tokio::test(flavor = "multi_thread")]
async fn objects_stored_as_v1beta1_are_stored_as_v1beta2() {
    let server = ApiServer::start().unwrap();
    let client = server.client().await.unwrap();
    install_crds(&client, &own_crds()).await.unwrap();
    let name = "functions.core.openfunction.io";
    store(&client, name, "v1beta1").await;
    let functions: Api<Function> = Api::default_namespaced(client.clone());
    for number in 0..3 {
        let stored = json!({"apiVersion": "core.openfunction.io/v1beta1", "kind": "Function", "metadata": {"name": format!("old-{number}")},
            "spec": {"image": "a", "port": 9000 + number, "serving": {"runtime": "knative"}}});
        let old_functions = old(&client, "default", "Function", "functions");
        old_functions.create(&PostParams::default(), &serde_json::from_value(stored).unwrap()).await.unwrap();
    }
    store(&client, name, "v1beta2").await;
    let converting = serve_conversion(&client).await;
    let before = eventually("they are converted", || async { functions.list(&Default::default()).await.ok() }).await;
    assert_eq!(storage::migrate(&client, "test", name).await.unwrap(), Some(3));
    assert_eq!(storage::migrate(&client, "test", name).await.unwrap(), None);

    drop(converting);
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let nobody = json!({"spec": {"conversion": {"strategy": "None", "webhook": null}}});
    crds.patch(name, &PatchParams::default(), &Patch::Merge(nobody)).await.unwrap();
    let after = eventually("nobody converts", || async { functions.list(&Default::default()).await.ok() }).await;
    let told = |list: &kube::core::ObjectList<Function>| {
        list.items.iter().map(|object| (object.metadata.generation, json!(object.spec))).collect::<Vec<_>>()
    };
    assert_eq!(after.items[2].spec.serving.as_ref().unwrap().http().unwrap().port, Some(9002));
    assert_eq!(told(&after), told(&before));
}

/// Has a CRD store its objects as a version from now on.
pub async fn store(client: &Client, crd: &str, version: &str) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut live = crds.get(crd).await.unwrap();
    live.metadata.managed_fields = None;
    live.spec.versions.iter_mut().for_each(|known| known.storage = known.name == version);
    crds.replace(crd, &PostParams::default(), &live).await.unwrap();
    eventually("it is stored as this version", || async {
        let stored = crds.get(crd).await.unwrap().status?.stored_versions?;
        stored.iter().any(|stored| stored == version).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fn33_old_clients_read_change_apply_and_delete_and_lose_nothing_of_what_they_do_not_know() {
    let (server, client, _conversion) = converting_server().await;
    let namespace = server.namespace(&client).await.unwrap();
    let functions: Api<Function> = Api::namespaced(client.clone(), &namespace);
    let triggers = json!({"http": {"port": 80, "engine": "native"}, "dapr": [{"name": "bus", "topic": "t", "retry": {"maxRetries": 3}}]});
    let new = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": "f"},
        "spec": {"image": "a", "suspend": true, "workloadRuntime": "OCIContainer", "serving": {"triggers": triggers, "hooks": {"pre": ["p"]}}}});
    let mut expected = new["spec"].clone();
    let created = functions.create(&PostParams::default(), &serde_json::from_value(new).unwrap()).await.unwrap();
    let mut with_status = created;
    with_status.status =
        serde_json::from_value(json!({"observedGeneration": 1, "serving": {"state": "Running", "reason": "Running"}}))
            .unwrap();
    functions.replace_status("f", &PostParams::default(), &with_status).await.unwrap();
    let read = || async {
        let read = functions.get("f").await.unwrap();
        assert_eq!(read.annotations().get(v1beta1::KEPT_OF_V1BETA2), None);
        json!(read)
    };
    let kubectl = |args: &[&str]| {
        let output = server.kubectl().args(["-n", &namespace]).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let old_name = "functions.v1beta1.core.openfunction.io";
    assert_eq!(kubectl(&["get", old_name, "f", "-o", "jsonpath={.spec.port} {.spec.serving.runtime}"]), "80 knative");

    // As `kubectl edit` does it.
    kubectl(&["patch", old_name, "f", "--type", "merge", "-p", r#"{"spec": {"image": "b", "port": 81}}"#]);
    expected["image"] = json!("b");
    expected["serving"]["triggers"]["http"]["port"] = json!(81);
    assert_eq!(read().await["spec"], expected);
    assert_eq!(read().await["status"]["observedGeneration"], 1);

    let apply = |manager: &str, image: &str, more: &[&str]| {
        let manifest = format!(
            "apiVersion: core.openfunction.io/v1beta1\nkind: Function\nmetadata: {{name: f}}\nspec: {{image: {image}, port: 82, serving: {{runtime: knative, params: {{A: b}}}}}}\n"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), manifest).unwrap();
        kubectl(&[&["apply", "-f", file.path().to_str().unwrap(), "--field-manager", manager], more].concat());
    };
    // By the server, twice: the second time takes over what the first wrote.
    expected["serving"]["params"] = json!({"A": "b"});
    expected["serving"]["triggers"]["http"]["port"] = json!(82);
    for image in ["c", "d"] {
        apply("old-tool", image, &["--server-side", "--force-conflicts"]);
        expected["image"] = json!(image);
        assert_eq!(read().await["spec"], expected);
    }
    // And by the client.
    apply("old-kubectl", "e", &[]);
    expected["image"] = json!("e");
    assert_eq!(read().await["spec"], expected);
    // The status of an old client: the build is asked for anew.
    let old_functions = old(&client, &namespace, "Function", "functions");
    let status = json!({"status": {"serving": null, "build": {"state": "Succeeded"}}});
    old_functions.patch_status("f", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    assert_eq!(read().await["status"], json!({"observedGeneration": 1, "build": {"state": "Succeeded"}}));
    assert_eq!(read().await["spec"], expected);
    // What it wrote itself it reads again, also what v1beta2 does not have.
    let own = json!({"apiVersion": "core.openfunction.io/v1beta1", "kind": "Function", "metadata": {"name": "own"},
        "spec": {"image": "a", "port": 90, "workloadRuntime": "OCIContainer", "serving": {"runtime": "async", "inputs": [{"name": "i", "component": "c", "params": {"a": "b"}}]}}});
    let own: DynamicObject = serde_json::from_value(own).unwrap();
    old_functions.create(&PostParams::default(), &own).await.unwrap();
    functions.patch("own", &PatchParams::default(), &Patch::Merge(json!({"spec": {"version": "v2"}}))).await.unwrap();
    let mut wanted = own.data["spec"].clone();
    wanted["version"] = json!("v2");
    assert_eq!(old_functions.get("own").await.unwrap().data["spec"], wanted);
    kubectl(&["delete", old_name, "f", "own"]);
    assert!(functions.get_opt("f").await.unwrap().is_none());
}

/// Requests in a second.
const RATE: u32 = 200;
/// Requests after the rotation.
const AFTERWARDS: usize = 400;

#[tokio::test(flavor = "multi_thread")]
async fn rotating_the_certificate_authority_fails_no_conversion() {
    let (server, client, conversion) = converting_server().await;
    let namespace = server.namespace(&client).await.unwrap();
    let functions: Api<Function> = Api::namespaced(client.clone(), &namespace);
    let function = json!({"metadata": {"name": "f"}, "spec": {"image": "a", "serving": {}}});
    functions.create(&PostParams::default(), &serde_json::from_value(function).unwrap()).await.unwrap();
    let old_functions = old(&client, &namespace, "Function", "functions");

    let get = |_| {
        let old_functions = old_functions.clone();
        async move { old_functions.get("f").await }
    };
    let (sent, failed) = while_rotating(&conversion, RATE, AFTERWARDS, get).await;
    println!("{sent} conversions, {} failed", failed.len());
    assert!(failed.is_empty(), "{} of {sent} failed, first: {}", failed.len(), failed[0]);
}
