//! What the chart renders is taken by a real API server, every field of it.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use e2e::{
    api_server::{ApiServer, install_crds, own_crds},
    cache::run,
    parts::{HELM, foreign_crds},
    product,
};

#[tokio::test(flavor = "multi_thread")]
async fn every_rendered_object_is_valid() {
    // Its own server: the chart brings the CRDs that others have installed.
    let server = ApiServer::start().unwrap();
    let client = server.client().await.unwrap();
    let mut gateway_api = foreign_crds().unwrap();
    gateway_api.retain(|crd| crd["spec"]["group"] == "gateway.networking.k8s.io");
    gateway_api.iter_mut().for_each(|crd| drop(crd["metadata"].as_object_mut().unwrap().remove("creationTimestamp")));
    install_crds(&client, &[own_crds(), gateway_api].concat()).await.unwrap();
    // `io` is of the chart itself, and not there in a dry run.
    for namespace in ["elsewhere", "shop", "office", "projectcontour", "knative-serving", "io"] {
        run(server.kubectl().args(["create", "namespace", namespace])).unwrap();
    }
    let helm = HELM.built().unwrap().join("helm");
    for values in product::CHART_VALUES {
        let mut template = Command::new(&helm);
        let rendered = run(template
            .arg("template")
            .arg("openfunction")
            .arg(product::chart())
            .args(["-n", "elsewhere"])
            .args(*values))
        .unwrap();
        let mut kubectl = server.kubectl();
        kubectl.args([
            "apply",
            "--server-side",
            "--dry-run=server",
            "--validate=strict",
            "--force-conflicts",
            "-f",
            "-",
        ]);
        let mut child = kubectl.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(rendered.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{values:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
