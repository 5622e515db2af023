//! What several tests need: kubectl, a namespace of one's own, and waiting.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use e2e::{
    cache::{hex, run},
    local::cluster::Cluster,
};
use reqwest::header::HOST;

/// Time in which a condition must come about; far more than it takes.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// A server that answers any path below `/cgi-bin/echo` with its name and the Host that it saw.
pub const ECHO: &str = r#"mkdir -p /tmp/www/cgi-bin
printf '#!/bin/sh\necho "Content-Type: text/plain"; echo; echo "%s $HTTP_HOST"\n' "$NAME" >/tmp/www/cgi-bin/echo
chmod +x /tmp/www/cgi-bin/echo
echo "$NAME" >/tmp/www/index.html
exec httpd -f -p 8080 -h /tmp/www"#;

/// A namespace that ends with the test. If the test fails, what is in it is printed.
pub struct Namespace {
    pub name: String,
    pub cluster: Cluster,
}

impl Namespace {
    /// A new namespace; the test's name is part of its own.
    pub fn new(test: &str) -> Self {
        let cluster = Cluster::here().unwrap();
        let unique = hex(format!("{:?} {}", Instant::now(), std::process::id()).as_bytes());
        let name = format!("{test}-{}", &unique[..6]);
        run(cluster.kubectl().args(["create", "namespace", &name])).expect("the cluster is up (cargo local up)");
        Self { name, cluster }
    }

    /// kubectl in this namespace.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut kubectl = self.cluster.kubectl();
        kubectl.args(["--namespace", &self.name]).args(arguments);
        kubectl
    }

    /// What kubectl prints.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        run(&mut self.command(arguments)).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Applies objects.
    pub fn apply(&self, yaml: &str) {
        let mut child =
            self.command(&["apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(yaml.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{yaml}");
    }

    /// A Deployment of busybox that runs a script as `$NAME` and listens on 8080, and its Service on port 80.
    pub fn serve(&self, name: &str, script: &str) {
        let script = script.replace('\n', "\n              ");
        self.apply(&format!(
            r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
        - name: server
          image: busybox
          command:
            - sh
            - -c
            - |
              {script}
          env: [{{name: NAME, value: {name}}}]
          readinessProbe: {{periodSeconds: 1, tcpSocket: {{port: 8080}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{port: 80, targetPort: 8080}}]
"#
        ));
        self.kubectl(&["rollout", "status", "deployment", name, "--timeout=60s"]);
    }

    /// The address of a Service.
    pub fn address(&self, service: &str) -> String {
        self.kubectl(&["get", "service", service, "-o", "jsonpath={.spec.clusterIP}"])
    }

    /// What a command in a pod of busybox that is thrown away prints.
    pub fn run_in_pod(&self, name: &str, command: &[&str]) -> String {
        self.run_image(name, "busybox", command)
    }

    /// What a command in a pod of an image prints; the pod is thrown away.
    pub fn run_image(&self, name: &str, image: &str, command: &[&str]) -> String {
        let image = format!("--image={image}");
        let mut arguments = vec!["run", name, &image, "--restart=Never", "--quiet", "--"];
        arguments.extend(command);
        self.kubectl(&arguments);
        // A program that ends at once is too fast for --attach.
        let pod = format!("pod/{name}");
        self.kubectl(&["wait", &pod, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s"]);
        let said = self.kubectl(&["logs", name]);
        self.kubectl(&["delete", &pod, "--wait=false", "--now"]);
        said
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for what in [&["get", "pods,events", "-o", "wide"][..], &["describe", "pods"]] {
                if let Ok(output) = self.command(what).output() {
                    eprintln!("{}", String::from_utf8_lossy(&output.stdout));
                }
            }
        }
        let _ = self.cluster.kubectl().args(["delete", "namespace", &self.name, "--wait=false"]).output();
    }
}

/// Waits until a check gives a value.
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what} did not come about within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// An HTTP client; requests are never tried again.
pub fn client() -> reqwest::Client {
    // Whoever is first installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap()
}

/// GET with a Host; the status and the body.
pub async fn get(client: &reqwest::Client, url: &str, host: &str) -> reqwest::Result<(u16, String)> {
    let answer = client.get(url).header(HOST, host).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?.trim().to_owned()))
}
