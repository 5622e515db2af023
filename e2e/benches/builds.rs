//! What the cache of builds is worth: how long a project takes whose dependencies take more than half a minute, and again
//! after a change of one line.
//!
//! `cargo bench --profile dev --bench builds` (what it measures runs in the cluster), on a local cluster with the product (`cargo demo`). The figures are printed; nothing is
//! asserted.

use std::{
    fs,
    io::Write,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use e2e::{
    cache::run,
    demo,
    local::{cluster::Cluster, go_modules::PROXY, registry::OPEN},
};
use serde_json::{Value, json};

const NAMESPACE: &str = "bench-builds";
const PATIENCE: Duration = Duration::from_secs(600);

/// Dependencies in a layer of their own, as a Dockerfile should have them.
const DOCKERFILE: &str = "FROM golang:1 AS build
ENV GOPROXY=MODULES GOFLAGS=-mod=mod
WORKDIR /src
COPY go.mod go.sum ./
RUN go build github.com/OpenFunction/functions-framework-go/framework
COPY . .
RUN go build -o /function ./cmd

FROM scratch
COPY --from=build /function /function
ENTRYPOINT [\"/function\"]
";

const MAIN: &str = "package main

import (
\t\"context\"
\t\"log\"

\t_ \"example.com/hello\"
\t\"github.com/OpenFunction/functions-framework-go/framework\"
)

func main() {
\tfwk, err := framework.NewFramework()
\tif err != nil {
\t\tlog.Fatal(err)
\t}
\tlog.Fatal(fwk.Start(context.Background()))
}
";

fn main() -> Result<()> {
    let cluster = Cluster::here()?;
    run(cluster.kubectl().args(["create", "namespace", NAMESPACE])).context("a cluster that is up")?;
    let result = measure(&cluster);
    run(cluster.kubectl().args(["delete", "namespace", NAMESPACE, "--wait=false"]))?;
    result
}

fn measure(cluster: &Cluster) -> Result<()> {
    let sample = demo::samples().join("function-go");
    let mut files = json!({"Dockerfile": DOCKERFILE.replace("MODULES", PROXY), "cmd/main.go": MAIN});
    for name in ["go.mod", "go.sum", "hello.go"] {
        files[name] = json!(fs::read_to_string(sample.join(name))?);
    }
    let env = json!({"FUNC_NAME": "HelloWorld", "FUNC_GOPROXY": PROXY});
    let ways = [
        ("openfunction", json!({"builder": "openfunction/builder-go:latest", "env": env})),
        ("buildkit", json!({"dockerfile": "Dockerfile"})),
    ];
    for (name, mut build) in ways {
        build["srcRepo"] = json!({"inline": {"files": files}});
        let image = format!("{OPEN}/bench-{name}-{}:v1", std::process::id());
        let mut function = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function",
            "metadata": {"name": name}, "spec": {"image": image, "build": build}});
        let first = built(cluster, &function)?;
        let changed = files["hello.go"].as_str().context("a text")?.replace("World!", "Moon!");
        function["spec"]["build"]["srcRepo"]["inline"]["files"]["hello.go"] = json!(changed);
        let second = built(cluster, &function)?;
        let share = second.as_secs_f64() / first.as_secs_f64() * 100.0;
        println!("{name:12}: {first:5.1?}, and {second:5.1?} after a change of one line ({share:.0} %)");
    }
    Ok(())
}

/// How long a build takes.
fn built(cluster: &Cluster, function: &Value) -> Result<Duration> {
    let began = Instant::now();
    let mut apply = cluster.kubectl();
    apply.args(["-n", NAMESPACE, "apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut apply = apply.spawn()?;
    apply.stdin.take().context("a pipe")?.write_all(function.to_string().as_bytes())?;
    ensure!(apply.wait()?.success(), "the Function cannot be applied");
    let name = function["metadata"]["name"].as_str().context("a name")?;
    loop {
        let object = run(cluster.kubectl().args(["-n", NAMESPACE, "get", "fn", name, "-o", "json"]))?;
        let object: Value = serde_json::from_str(&object)?;
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        let ready = conditions.iter().find(|condition| {
            condition["type"] == "BuildReady" && condition["observedGeneration"] == object["metadata"]["generation"]
        });
        match ready.map(|ready| (ready["status"].as_str(), &ready["message"])) {
            Some((Some("True"), _)) => return Ok(began.elapsed()),
            Some((Some("False"), message)) => bail!("{name}: {message}"),
            _ if began.elapsed() > PATIENCE => bail!("{name}: {}", object["status"]),
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
