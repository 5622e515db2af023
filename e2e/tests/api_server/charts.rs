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

/// Namespace of the bundle, as a word that nothing else in it is.
const BUNDLED: &str = "openfunction-revisions";

/// `BLESS=1` writes it.
#[test]
fn rv1_the_bundle_of_the_revision_controller_is_what_the_chart_renders() {
    let path = e2e::root().join("deploy/bundles/revision-controller.yaml");
    let mut template = Command::new(HELM.built().unwrap().join("helm"));
    template.args(["template", "openfunction"]).arg(product::chart()).args([
        "-n",
        BUNDLED,
        "--set",
        "crds.enabled=false",
    ]);
    template.args(["--set", "wasm.runtimeClass.enabled=false", "--set", "revisionController.enable=true"]);
    for controller in product::CONTROLLERS.iter().filter(|name| **name != "revision-controller") {
        template.args(["--set", &format!("{controller}.enabled=false")]);
    }
    let rendered = run(&mut template).unwrap();
    let head = format!(
        "# revision-controller alone, for a cluster that has OpenFunction already. It is rendered from the chart, for namespace\n# {BUNDLED}, which must exist; for another one:\n#   sed s/{BUNDLED}/<namespace>/g revision-controller.yaml | kubectl apply -f -\n"
    );
    let bundle =
        head + &rendered.replace("app.kubernetes.io/managed-by: Helm", "app.kubernetes.io/managed-by: kubectl");
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &bundle).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == bundle,
        "{} is of before; BLESS=1 writes it",
        path.display()
    );
    assert!(!bundle.contains("function-controller") && bundle.matches(BUNDLED).count() > 10, "{bundle}");
}
