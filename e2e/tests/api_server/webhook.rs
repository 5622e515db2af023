//! Admission webhooks and the rotation of their certificates, on a real API server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use controller_runtime::{
    certificates::Lifetimes,
    webhook::{BundleTarget, Verdict, Webhooks},
};
use k8s_openapi::api::{admissionregistration::v1::ValidatingWebhookConfiguration, core::v1::ConfigMap};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use serde_json::json;

use crate::{
    conversion::{serve, while_rotating},
    support::{eventually, server},
};

/// Requests in a second.
const RATE: u32 = 50;
/// Requests after the rotation.
const AFTERWARDS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn rotating_the_certificate_authority_fails_no_request() {
    let (_, client, namespace) = server().await;
    let called = Arc::new(AtomicUsize::new(0));
    let counter = called.clone();
    let webhooks = Webhooks::new().admit(
        "/validate",
        BundleTarget::Validating("rotation".to_owned()),
        Arc::new(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            Verdict::default()
        }),
    );
    // The configuration must exist before its bundle can be brought to it, and needs the port of the server: it is
    // made with a port that answers nothing, and corrected.
    let configurations: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let configuration = |port: u16| -> ValidatingWebhookConfiguration {
        serde_json::from_value(json!({"metadata": {"name": "rotation"}, "webhooks": [{
            "name": "rotation.test.openfunction.io", "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": format!("https://127.0.0.1:{port}/validate")},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
        }]})).unwrap()
    };
    configurations.create(&PostParams::default(), &configuration(1)).await.unwrap();
    let lifetimes = Lifetimes { propagation: Duration::from_secs(3), ..Lifetimes::default() };
    let served = serve(&client, "rotation-controller", webhooks, lifetimes).await;
    let mut live = configurations.get("rotation").await.unwrap();
    live.webhooks.as_mut().unwrap()[0].client_config.url = Some(format!("https://127.0.0.1:{}/validate", served.port));
    eventually("the address of the webhook", || async {
        let mut latest = configurations.get("rotation").await.unwrap();
        latest.webhooks = live.webhooks.clone().map(|mut w| {
            w[0].client_config.ca_bundle = latest.webhooks.unwrap()[0].client_config.ca_bundle.clone();
            w
        });
        configurations.replace("rotation", &PostParams::default(), &latest).await.ok()
    })
    .await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let create = |name: String| {
        let maps = maps.clone();
        async move {
            let map = ConfigMap {
                metadata: ObjectMeta { name: Some(name), ..ObjectMeta::default() },
                ..ConfigMap::default()
            };
            maps.create(&PostParams { dry_run: true, ..PostParams::default() }, &map).await
        }
    };
    eventually("the webhook works", || async { create("first".to_owned()).await.ok() }).await;

    let request = |number| create(format!("request-{number}"));
    let (sent, failed) = while_rotating(&served, RATE, AFTERWARDS, request).await;
    println!("{sent} requests during the rotation, {} failed", failed.len());
    assert!(failed.is_empty(), "{} of {sent} failed, first: {}", failed.len(), failed[0]);
    assert!(called.load(Ordering::Relaxed) >= sent, "the webhook was not asked every time");
    configurations.delete("rotation", &Default::default()).await.unwrap();
}
