//! Dapr.

use crate::support::{Namespace, eventually};

#[test]
fn a_sidecar_delivers_a_cron_binding() {
    let namespace = Namespace::new("dapr");
    namespace.apply(
        r#"
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: tick}
spec:
  type: bindings.cron
  version: v1
  metadata: [{name: schedule, value: "@every 1s"}, {name: route, value: /cgi-bin/tick}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata:
      labels: {app: app}
      annotations:
        dapr.io/enabled: "true"
        dapr.io/app-id: app
        dapr.io/app-port: "8080"
        dapr.io/disable-builtin-k8s-secret-store: "true"
    spec:
      containers:
        - name: app
          image: busybox
          command:
            - sh
            - -c
            - |
              mkdir -p /tmp/www/cgi-bin
              printf '#!/bin/sh\n[ "$REQUEST_METHOD" = POST ] && echo tick >>/tmp/ticks\necho "Content-Type: text/plain"; echo\n' >/tmp/www/cgi-bin/tick
              chmod +x /tmp/www/cgi-bin/tick
              exec httpd -f -p 8080 -h /tmp/www
"#,
    );
    namespace.kubectl(&["rollout", "status", "deployment", "app", "--timeout=90s"]);
    eventually("three deliveries", || {
        let ticks =
            namespace.command(&["exec", "deployment/app", "-c", "app", "--", "cat", "/tmp/ticks"]).output().unwrap();
        (String::from_utf8(ticks.stdout).unwrap().lines().count() >= 3).then_some(())
    });
}
