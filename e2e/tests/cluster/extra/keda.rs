//! KEDA.

use e2e::{cache::run, local::git::NAMESPACE};

use crate::support::{ECHO, Namespace, eventually};

/// What the shared Redis says.
pub(super) fn redis(namespace: &Namespace, command: &[&str]) -> String {
    let mut arguments = vec!["-n", NAMESPACE, "exec", "deployment/redis", "--", "redis-cli"];
    arguments.extend(command);
    run(namespace.cluster.kubectl().args(arguments)).unwrap()
}

#[test]
fn a_deployment_follows_the_length_of_a_redis_list() {
    let namespace = Namespace::new("keda");
    let list = &namespace.name;
    namespace.serve("worker", ECHO);
    namespace.apply(&format!(
        r#"
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {{name: worker}}
spec:
  scaleTargetRef: {{name: worker}}
  pollingInterval: 1
  cooldownPeriod: 1
  minReplicaCount: 0
  maxReplicaCount: 2
  triggers:
    - type: redis
      metadata: {{address: redis.{NAMESPACE}.svc.cluster.local:6379, listName: {list}, listLength: "1"}}
"#
    ));
    let replicas = || namespace.kubectl(&["get", "deployment", "worker", "-o", "jsonpath={.spec.replicas}"]);
    eventually("scaling to zero", || (replicas() == "0").then_some(()));
    redis(&namespace, &["rpush", list, "a", "b", "c"]);
    eventually("scaling to two", || (replicas() == "2").then_some(()));
    redis(&namespace, &["del", list]);
    eventually("scaling back to zero", || (replicas() == "0").then_some(()));
}
