//! Pods as Deployments, StatefulSets and Jobs; names, logs, exec and port-forward.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use crate::support::{ECHO, Namespace, client, get};

/// A command that asks until there is an answer: a name is known to DNS, and an address to the nodes, a moment after the
/// pod is ready.
fn until_served(url: &str) -> [&str; 4] {
    ["sh", "-c", r#"until wget -qO- "$0"; do sleep 1; done"#, url]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_answers_by_the_name_of_its_service() {
    let namespace = Namespace::new("deployment");
    namespace.serve("hello", ECHO);
    let by_name = format!("http://hello.{}.svc.cluster.local/", namespace.name);
    assert_eq!(namespace.run_in_pod("asks", &until_served(&by_name)).trim(), "hello");
    // From the machine too.
    let answer = get(&client(), &format!("http://{}/", namespace.address("hello")), "hello").await.unwrap();
    assert_eq!(answer, (200, "hello".to_owned()));
}

#[test]
fn a_pod_can_be_entered_and_tells_what_it_logged() {
    let namespace = Namespace::new("logs");
    namespace.serve("talks", &format!("echo it talks\n{ECHO}"));
    assert_eq!(namespace.kubectl(&["exec", "deployment/talks", "--", "cat", "/tmp/www/index.html"]).trim(), "talks");
    assert_eq!(namespace.kubectl(&["logs", "deployment/talks"]).trim(), "it talks");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_forwarded() {
    let namespace = Namespace::new("forward");
    namespace.serve("hello", ECHO);
    let mut forward =
        namespace.command(&["port-forward", "deployment/hello", ":8080"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    // Kept open: kubectl ends when it cannot print that it handles a connection.
    let mut said = BufReader::new(forward.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    // Forwarding from 127.0.0.1:40000 -> 8080
    let address = line.split_whitespace().nth(2).unwrap_or_else(|| panic!("{line}"));
    let answer = get(&client(), &format!("http://{address}/"), "hello").await;
    forward.kill().unwrap();
    forward.wait().unwrap();
    assert_eq!(answer.unwrap(), (200, "hello".to_owned()));
}

#[test]
fn a_stateful_set_gives_its_pods_names() {
    let namespace = Namespace::new("stateful");
    namespace.apply(
        r#"
apiVersion: v1
kind: Service
metadata: {name: peers}
spec: {clusterIP: None, selector: {app: peers}, ports: [{port: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: peers}
spec:
  serviceName: peers
  replicas: 2
  selector: {matchLabels: {app: peers}}
  template:
    metadata: {labels: {app: peers}}
    spec:
      containers:
        - name: server
          image: busybox
          command: [sh, -c, "mkdir /tmp/www && hostname >/tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"]
          readinessProbe: {periodSeconds: 1, tcpSocket: {port: 8080}}
"#,
    );
    namespace.kubectl(&["rollout", "status", "statefulset", "peers", "--timeout=60s"]);
    assert_eq!(namespace.run_in_pod("asks", &until_served("http://peers-1.peers:8080/")).trim(), "peers-1");
}

#[test]
fn a_job_runs_to_its_end() {
    let namespace = Namespace::new("job");
    namespace.kubectl(&["create", "job", "counts", "--image=busybox", "--", "sh", "-c", "seq 3"]);
    namespace.kubectl(&["wait", "--for=condition=Complete", "job/counts", "--timeout=60s"]);
    assert_eq!(namespace.kubectl(&["logs", "job/counts"]), "1\n2\n3\n");
}
