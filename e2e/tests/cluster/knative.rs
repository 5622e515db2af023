//! A Knative revision without a networking layer.

use serde_json::Value;

use crate::support::{Namespace, client, eventually, get};

/// Pods that are to stay.
fn pods(namespace: &Namespace) -> usize {
    let pods: Value = serde_json::from_str(&namespace.kubectl(&["get", "pods", "-o", "json"])).unwrap();
    pods["items"].as_array().unwrap().iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_goes_to_zero_answers_from_there_and_goes_back() {
    let namespace = Namespace::new("knative");
    namespace.apply(
        r#"
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec:
  template:
    metadata:
      annotations:
        autoscaling.knative.dev/window: 6s
        autoscaling.knative.dev/scale-to-zero-pod-retention-period: 0s
    spec:
      containers:
        - image: registry.ofn.local:5000/library/busybox:latest
          command: [sh, -c, "mkdir /tmp/www && echo awake >/tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"]
          ports: [{containerPort: 8080}]
"#,
    );
    namespace.kubectl(&["wait", "ksvc/hello", "--for=condition=ConfigurationsReady", "--timeout=90s"]);
    let revision = namespace.kubectl(&["get", "ksvc", "hello", "-o", "jsonpath={.status.latestReadyRevisionName}"]);
    eventually("scaling to zero", || (pods(&namespace) == 0).then_some(()));
    let host = format!("{revision}.{}.svc.cluster.local", namespace.name);
    // The Service points at the activator while there is no pod.
    let address = activator(&namespace);
    let answer = get(&client(), &format!("http://{address}/"), &host).await.unwrap();
    assert_eq!(answer, (200, "awake".to_owned()));
    assert!(pods(&namespace) > 0);
    eventually("scaling back to zero", || (pods(&namespace) == 0).then_some(()));
}

fn activator(namespace: &Namespace) -> String {
    namespace.kubectl(&[
        "-n",
        "knative-serving",
        "get",
        "service",
        "activator-service",
        "-o",
        "jsonpath={.spec.clusterIP}",
    ])
}
