//! The CRDs themselves.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, ResourceExt, api::ListParams};
use openfunction_proto::crds;

use crate::support::server;

async fn installed(client: kube::Client) -> Vec<CustomResourceDefinition> {
    let names: Vec<_> = crds::all().iter().map(ResourceExt::name_any).collect();
    let list = Api::<CustomResourceDefinition>::all(client).list(&ListParams::default()).await.unwrap();
    list.items.into_iter().filter(|crd| names.contains(&crd.name_any())).collect()
}

#[tokio::test]
async fn every_crd_is_structural_established_and_under_one_mebibyte() {
    let (_, client, _) = server().await;
    let crds = installed(client).await;
    assert_eq!(crds.len(), 8);
    for crd in crds {
        let (name, size) = (crd.name_any(), serde_json::to_vec(&crd).unwrap().len());
        assert!(size < 1 << 20, "{name} has {size} bytes");
        let conditions = crd.status.unwrap().conditions.unwrap_or_default();
        let is = |type_: &str| conditions.iter().any(|c| c.type_ == type_ && c.status == "True");
        assert!(is("Established") && is("NamesAccepted"), "{name}: {conditions:?}");
        assert!(!conditions.iter().any(|c| c.type_ == "NonStructuralSchema"), "{name}: {conditions:?}");
    }
}

#[tokio::test]
async fn applying_a_crd_over_itself_changes_nothing() {
    let (server, client, _) = server().await;
    let files = e2e::root().join("deploy/charts/openfunction/charts/crds/files");
    let apply = || {
        let output =
            server.kubectl().args(["apply", "--server-side", "--force-conflicts", "-f"]).arg(&files).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    apply();
    let versions = |crds: Vec<CustomResourceDefinition>| {
        crds.iter().map(|crd| (crd.name_any(), crd.metadata.generation, crd.resource_version())).collect::<Vec<_>>()
    };
    let before = versions(installed(client.clone()).await);
    apply();
    assert_eq!(versions(installed(client).await), before);
}

#[tokio::test]
async fn kubectl_explain_has_a_sentence_for_a_deep_field() {
    let (server, ..) = server().await;
    let output = server.kubectl().args(["explain", "functions.spec.serving.triggers.http.engine"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("What runs and scales the function"), "{text}");
}
