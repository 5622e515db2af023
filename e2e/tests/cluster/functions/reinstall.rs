//! The product goes and comes back; what runs does not notice.

use e2e::{
    cache::run,
    demo,
    local::cluster::Cluster,
    product::{self, NAMESPACE, helm},
};

use super::{Deployed, product_alone};

fn pods(deployed: &Deployed) -> String {
    let path = "jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[*].restartCount}{\"\\n\"}{end}";
    deployed.namespace.kubectl(&["get", "pods", "-o", path])
}

#[tokio::test(flavor = "multi_thread")]
async fn pl17_uninstalling_and_installing_again_restarts_no_pod() {
    let deployed = Deployed::new("reinstall", demo::sample("ready-image").unwrap());
    deployed.is_ready();
    let pods_before = pods(&deployed);
    assert!(!pods_before.is_empty());
    // The Function stays; the others have ended when this begins.
    let Deployed { namespace, name, manifest, _installed } = deployed;
    drop(_installed);
    let alone = product_alone();
    let cluster = Cluster::here().unwrap();
    let mut uninstall = helm(&cluster.kubeconfig(), cluster.folder()).unwrap();
    run(uninstall.args(["uninstall", NAMESPACE, "-n", NAMESPACE, "--wait", "--timeout=2m"])).unwrap();
    // Other tests have OpenFunction Gateways of their own.
    let left = cluster.get(&["gateways.networking.openfunction.io", "-n", NAMESPACE], 5).unwrap();
    assert_eq!(left["items"].as_array().unwrap().len(), 0, "the default OpenFunction Gateway goes first");
    let injected = cluster.get(&["gateway.gateway.networking.k8s.io", "contour", "-n", "projectcontour"], 5).unwrap();
    let listeners = injected["spec"]["listeners"].as_array().unwrap();
    let is_its = |listener: &&serde_json::Value| listener["name"] == "ofn-http-external";
    assert_eq!(listeners.iter().find(is_its), None, "and takes its listeners with it");
    product::install_on(&cluster).unwrap();
    drop(alone);
    let deployed = Deployed { namespace, name, manifest, _installed: Some(super::product()) };
    deployed.eventually("the route is back", || (deployed.condition("RouteReady")["status"] == "True").then_some(()));
    deployed.is_served("/").await;
    assert_eq!(pods(&deployed), pods_before);
}
