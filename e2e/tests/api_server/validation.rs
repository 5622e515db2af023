//! What the CRDs refuse, and that the nearest good value is accepted: every row of core-api §9 and networking §4.2.

use std::collections::BTreeSet;

use kube::Client;
use serde_json::{Value, json};

use crate::{
    conversion::converting_server,
    support::{api_of, remove, server, set, try_out},
};

/// One rule: what breaks it, the field that the error names, a part of its message, and what is accepted instead.
struct Row {
    id: &'static str,
    bad: Vec<(&'static str, Value)>,
    field: &'static str,
    message: &'static str,
    good: Vec<(&'static str, Value)>,
}

/// A value that takes the field away.
fn gone() -> Value {
    json!("<gone>")
}

/// A value that leaves the object as it is.
fn absent() -> Value {
    json!("<absent>")
}

fn row(
    id: &'static str,
    pointer: &'static str,
    bad: Value,
    field: &'static str,
    message: &'static str,
    good: Value,
) -> Row {
    Row { id, bad: vec![(pointer, bad)], field, message, good: vec![(pointer, good)] }
}

fn changed(base: &Value, changes: &[(&str, Value)]) -> Value {
    let mut object = base.clone();
    for (pointer, value) in changes {
        if *value == absent() {
            continue;
        }
        if *value == gone() {
            remove(&mut object, pointer);
        } else {
            set(&mut object, pointer, value.clone());
        }
    }
    object
}

async fn check(base: Value, rows: Vec<Row>) {
    let (_, client, namespace) = server().await;
    check_with(&client, &namespace, base, rows).await;
}

async fn check_with(client: &Client, namespace: &str, base: Value, rows: Vec<Row>) {
    let api = api_of(client, &base, namespace).await;
    try_out(&api, &base).await.unwrap_or_else(|status| panic!("the base is refused: {}", status.message));
    let mut wrong = Vec::new();
    for Row { id, bad, field, message, good } in rows {
        match try_out(&api, &changed(&base, &bad)).await {
            Ok(_) => wrong.push(format!("{id}: {bad:?} is accepted")),
            Err(status) => {
                let causes = status.details.as_ref().map(|d| d.causes.clone()).unwrap_or_default();
                let named = causes.iter().any(|cause| cause.field == field && cause.message.contains(message));
                if !named {
                    wrong.push(format!(
                        "{id}: {bad:?} is refused, but not as {field}: {message:?}\n      {}",
                        status.message
                    ));
                }
            }
        }
        if let Err(status) = try_out(&api, &changed(&base, &good)).await {
            wrong.push(format!("{id}: {good:?} is refused: {}", status.message));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn function() -> Value {
    json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": "f"},
        "spec": {"image": "a", "build": {"builder": "b", "srcRepo": {"url": "https://git.example.com/a.git"}}, "serving": {}}})
}

/// The rows of core-api §9, by their number there.
fn core_rows() -> Vec<Row> {
    let negative = "cannot be less than 0";
    let at_least = "should be greater than or equal to 0";
    let http = json!({});
    let keda = |value: Value| json!({ "scaledObject": value });
    let mut rows = vec![
        row("1", "/spec/image", json!(""), "spec.image", "must be specified", json!("a")),
        row(
            "2",
            "/spec/imageCredentials",
            json!({}),
            "spec.imageCredentials.name",
            "must be specified when spec.build is",
            json!({"name": "s"}),
        ),
        Row {
            id: "3",
            bad: vec![("/spec/build/builder", gone())],
            field: "spec.build.builder",
            message: "must be specified when dockerfile is not",
            good: vec![("/spec/build/builder", gone()), ("/spec/build/dockerfile", json!("Dockerfile"))],
        },
        row("4", "/spec/build/srcRepo", gone(), "spec.build.srcRepo", "Required value", json!({"url": "u"})),
        row(
            "5",
            "/spec/build/srcRepo",
            json!({}),
            "spec.build.srcRepo",
            "must specify one of: url, bundleContainer or inline",
            json!({"bundleContainer": {"image": "i"}}),
        ),
        row("6", "/spec/build/timeout", json!("-1s"), "spec.build.timeout", negative, json!("0s")),
        row(
            "7",
            "/spec/build/successfulBuildsHistoryLimit",
            json!(-1),
            "spec.build.successfulBuildsHistoryLimit",
            at_least,
            json!(0),
        ),
        row(
            "8",
            "/spec/build/failedBuildsHistoryLimit",
            json!(-1),
            "spec.build.failedBuildsHistoryLimit",
            at_least,
            json!(0),
        ),
        row("9", "/spec/build/builderMaxAge", json!("-1h30m"), "spec.build.builderMaxAge", negative, json!("1h30m")),
        row(
            "10",
            "/spec/build/shipwright",
            json!({"strategy": {"name": "s", "kind": "Strategy"}}),
            "spec.build.shipwright.strategy.kind",
            r#"supported values: "BuildStrategy", "ClusterBuildStrategy""#,
            json!({"strategy": {"name": "s", "kind": "BuildStrategy"}}),
        ),
        row(
            "11",
            "/spec/build/shipwright",
            json!({"timeout": "-1ms"}),
            "spec.build.shipwright.timeout",
            negative,
            json!({"timeout": "1ms"}),
        ),
        row(
            "12",
            "/spec/serving/scaleOptions",
            json!({"minReplicas": -1}),
            "spec.serving.scaleOptions.minReplicas",
            at_least,
            json!({"minReplicas": 0}),
        ),
        row(
            "13",
            "/spec/serving/scaleOptions",
            json!({"maxReplicas": -1}),
            "spec.serving.scaleOptions.maxReplicas",
            at_least,
            json!({"maxReplicas": 0}),
        ),
        row(
            "14",
            "/spec/serving/scaleOptions",
            json!({"minReplicas": 11}),
            "spec.serving.scaleOptions.minReplicas",
            "cannot be greater than maxReplicas",
            json!({"minReplicas": 10}),
        ),
        row(
            "14",
            "/spec/serving/scaleOptions",
            json!({"minReplicas": 3, "maxReplicas": 2}),
            "spec.serving.scaleOptions.minReplicas",
            "cannot be greater than maxReplicas",
            json!({"minReplicas": 3, "maxReplicas": 3}),
        ),
        row(
            "15",
            "/spec/serving/scaleOptions/keda",
            json!({"scaledJob": {}, "scaledObject": {}}),
            "spec.serving.scaleOptions.keda",
            "exactly one of scaledJob, scaledObject and httpScaledObject",
            json!({"scaledJob": {}}),
        ),
        row(
            "16",
            "/spec/serving/scaleOptions/keda",
            json!({"httpScaledObject": {"targetPendingRequests": -1}}),
            "spec.serving.scaleOptions.keda.httpScaledObject.targetPendingRequests",
            at_least,
            json!({"httpScaledObject": {"targetPendingRequests": 0}}),
        ),
        row(
            "17",
            "/spec/serving/scaleOptions/keda",
            json!({"httpScaledObject": {"cooldownPeriod": -1}}),
            "spec.serving.scaleOptions.keda.httpScaledObject.cooldownPeriod",
            at_least,
            json!({"httpScaledObject": {"cooldownPeriod": 0}}),
        ),
        row(
            "18",
            "/spec/serving/scaleOptions/keda",
            keda(json!({"pollingInterval": -1})),
            "spec.serving.scaleOptions.keda.scaledObject.pollingInterval",
            at_least,
            keda(json!({"pollingInterval": 0})),
        ),
        row(
            "19",
            "/spec/serving/scaleOptions/keda",
            keda(json!({"cooldownPeriod": -1})),
            "spec.serving.scaleOptions.keda.scaledObject.cooldownPeriod",
            at_least,
            keda(json!({"cooldownPeriod": 0})),
        ),
        row(
            "24",
            "/spec/serving/scaleOptions/keda",
            keda(json!({"fallback": {"failureThreshold": 0, "replicas": 1}})),
            "spec.serving.scaleOptions.keda.scaledObject.fallback.failureThreshold",
            "should be greater than or equal to 1",
            keda(json!({"fallback": {"failureThreshold": 1, "replicas": 1}})),
        ),
        row(
            "25",
            "/spec/serving/scaleOptions/keda",
            keda(json!({"fallback": {"failureThreshold": 1, "replicas": -1}})),
            "spec.serving.scaleOptions.keda.scaledObject.fallback.replicas",
            at_least,
            keda(json!({"fallback": {"failureThreshold": 1, "replicas": 0}})),
        ),
        row(
            "33",
            "/spec/serving/triggers",
            json!({"http": {"engine": "lambda"}}),
            "spec.serving.triggers.http.engine",
            r#"supported values: "knative", "keda", "native", "auto""#,
            json!({"http": {"engine": "keda"}}),
        ),
        Row {
            id: "34",
            bad: vec![("/spec/build", gone()), ("/spec/serving", gone())],
            field: "spec.serving",
            message: "must be specified when spec.build is not",
            good: vec![("/spec/build", gone()), ("/spec/serving", json!({"triggers": {"http": http}}))],
        },
    ];
    let job = |value: Value| json!({ "scaledJob": value });
    let strategy = |value: Value| job(json!({ "scalingStrategy": value }));
    const JOB: &str = "/spec/serving/scaleOptions/keda";
    rows.extend([
        row("26", JOB, job(json!({"restartPolicy": "Always"})), "spec.serving.scaleOptions.keda.scaledJob.restartPolicy", r#"supported values: "OnFailure", "Never""#, job(json!({"restartPolicy": "Never"}))),
        row("27", JOB, job(json!({"pollingInterval": -1})), "spec.serving.scaleOptions.keda.scaledJob.pollingInterval", at_least, job(json!({"pollingInterval": 0}))),
        row("27", JOB, job(json!({"successfulJobsHistoryLimit": -1})), "spec.serving.scaleOptions.keda.scaledJob.successfulJobsHistoryLimit", at_least, job(json!({"successfulJobsHistoryLimit": 0}))),
        row("27", JOB, job(json!({"failedJobsHistoryLimit": -1})), "spec.serving.scaleOptions.keda.scaledJob.failedJobsHistoryLimit", at_least, job(json!({"failedJobsHistoryLimit": 0}))),
        row("28", JOB, strategy(json!({"strategy": "best"})), "spec.serving.scaleOptions.keda.scaledJob.scalingStrategy.strategy", "supported values", strategy(json!({"strategy": "accurate"}))),
        row("29", JOB, strategy(json!({"strategy": "custom", "customScalingRunningJobPercentage": "50%"})), "spec.serving.scaleOptions.keda.scaledJob.scalingStrategy.customScalingQueueLengthDeduction", "must be specified when strategy is custom",
            strategy(json!({"strategy": "custom", "customScalingRunningJobPercentage": "50%", "customScalingQueueLengthDeduction": 1}))),
        row("30", JOB, strategy(json!({"strategy": "custom", "customScalingQueueLengthDeduction": 1, "customScalingRunningJobPercentage": ""})), "spec.serving.scaleOptions.keda.scaledJob.scalingStrategy.customScalingRunningJobPercentage", "must be specified when strategy is custom",
            strategy(json!({"strategy": "custom", "customScalingQueueLengthDeduction": 1, "customScalingRunningJobPercentage": "0.5"}))),
        row("31", JOB, strategy(json!({"customScalingQueueLengthDeduction": -1})), "spec.serving.scaleOptions.keda.scaledJob.scalingStrategy.customScalingQueueLengthDeduction", at_least, strategy(json!({"customScalingQueueLengthDeduction": 0}))),
        row("32", JOB, strategy(json!({"customScalingRunningJobPercentage": "half"})), "spec.serving.scaleOptions.keda.scaledJob.scalingStrategy.customScalingRunningJobPercentage", "should match", strategy(json!({"customScalingRunningJobPercentage": "50 %"}))),
    ]);
    let behavior = |direction: &str, value: Value| {
        keda(json!({"advanced": {"horizontalPodAutoscalerConfig": {"behavior": {direction: value}}}}))
    };
    for (direction, fields) in [
        (
            "scaleUp",
            [
                "spec.serving.scaleOptions.keda.scaledObject.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.stabilizationWindowSeconds",
                "spec.serving.scaleOptions.keda.scaledObject.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.selectPolicy",
                "spec.serving.scaleOptions.keda.scaledObject.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.policies[0].type",
                "spec.serving.scaleOptions.keda.scaledObject.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.policies[0].periodSeconds",
            ],
        ),
        (
            "scaleDown",
            [
                "spec.serving.scaleOptions.keda.scaledObject.advanced.horizontalPodAutoscalerConfig.behavior.scaleDown.stabilizationWindowSeconds",
                "spec.serving.scaleOptions.keda.scaledObject.advanced.horizontalPodAutoscalerConfig.behavior.scaleDown.selectPolicy",
                "spec.serving.scaleOptions.keda.scaledObject.advanced.horizontalPodAutoscalerConfig.behavior.scaleDown.policies[0].type",
                "spec.serving.scaleOptions.keda.scaledObject.advanced.horizontalPodAutoscalerConfig.behavior.scaleDown.policies[0].periodSeconds",
            ],
        ),
    ] {
        let policy = |type_: &str, period: i32| {
            behavior(direction, json!({"policies": [{"type": type_, "value": 1, "periodSeconds": period}]}))
        };
        rows.extend([
            row(
                "20",
                JOB,
                behavior(direction, json!({"stabilizationWindowSeconds": 3601})),
                fields[0],
                "should be less than or equal to 3600",
                behavior(direction, json!({"stabilizationWindowSeconds": 3600})),
            ),
            row(
                "20",
                JOB,
                behavior(direction, json!({"stabilizationWindowSeconds": -1})),
                fields[0],
                at_least,
                behavior(direction, json!({"stabilizationWindowSeconds": 0})),
            ),
            row(
                "21",
                JOB,
                behavior(direction, json!({"selectPolicy": "Most"})),
                fields[1],
                r#"supported values: "Max", "Min", "Disabled""#,
                behavior(direction, json!({"selectPolicy": "Disabled"})),
            ),
            row(
                "22",
                JOB,
                policy("Replicas", 1),
                fields[2],
                r#"supported values: "Pods", "Percent""#,
                policy("Pods", 1),
            ),
            row("23", JOB, policy("Pods", -1), fields[3], at_least, policy("Pods", 0)),
        ]);
    }
    rows
}

/// What upstream did not check, although it could never run; and our additions.
fn further_rows() -> Vec<Row> {
    vec![
        row("FN8", "/spec/version", json!("v1 beta"), "spec.version", "must be a label value", json!("v1.0_beta")),
        row(
            "FN17",
            "/spec/serving/workloadType",
            json!("ReplicaSet"),
            "spec.serving.workloadType",
            "supported values",
            json!("StatefulSet"),
        ),
        row(
            "port",
            "/spec/serving/triggers",
            json!({"http": {"port": 65536}}),
            "spec.serving.triggers.http.port",
            "less than or equal to 65535",
            json!({"http": {"port": 65535}}),
        ),
        row("duration", "/spec/serving/timeout", json!("1 day"), "spec.serving.timeout", "should match", json!("24h")),
        row(
            "output",
            "/spec/serving/outputs",
            json!([{"dapr": {"type": "t"}}]),
            "spec.serving.outputs[0].dapr.name",
            "must be specified",
            json!([{"dapr": {"component": "c"}}]),
        ),
        row(
            "filter",
            "/spec/serving/triggers",
            json!({"http": {"route": {"rules": [{"filters": [{"type": "URLRewrite"}]}]}}}),
            "spec.serving.triggers.http.route.rules[0].filters[0].urlRewrite",
            "must be specified for type URLRewrite",
            json!({"http": {"route": {"rules": [{"filters": [{"type": "URLRewrite", "urlRewrite": {"hostname": "a"}}]}]}}}),
        ),
        row(
            "visibility",
            "/spec/serving/triggers",
            json!({"http": {"route": {"visibility": "Secret"}}}),
            "spec.serving.triggers.http.route.visibility",
            "supported values",
            json!({"http": {"route": {"visibility": "Internal"}}}),
        ),
        row(
            "traffic sum",
            "/spec/serving/traffic",
            json!([{"latest": true, "percent": 90}]),
            "spec.serving.traffic",
            "must add up to 100",
            json!([{"latest": true, "percent": 90}, {"revision": "a", "percent": 10}]),
        ),
        row(
            "traffic latest",
            "/spec/serving/traffic",
            json!([{"latest": true, "percent": 50}, {"latest": true, "percent": 50}]),
            "spec.serving.traffic",
            "at most one target",
            json!([{"latest": true, "percent": 100}]),
        ),
        row(
            "traffic target",
            "/spec/serving/traffic",
            json!([{"percent": 100}]),
            "spec.serving.traffic[0]",
            "must specify either revision or latest",
            json!([{"revision": "a", "percent": 100}]),
        ),
        row(
            "traffic tag",
            "/spec/serving/traffic",
            json!([{"latest": true, "percent": 100, "tag": "a"}, {"revision": "r", "tag": "a"}]),
            "spec.serving.traffic",
            "every tag must be unique",
            json!([{"latest": true, "percent": 100, "tag": "a"}, {"revision": "r", "tag": "b"}]),
        ),
        row(
            "gitlab",
            "/spec/revisionPolicy",
            json!({"type": "source", "repoType": "gitlab"}),
            "spec.revisionPolicy",
            "baseURL and projectID must be specified",
            json!({"type": "source", "repoType": "gitlab", "baseURL": "https://gitlab.example.com", "projectID": "42"}),
        ),
        row(
            "suspend",
            "/spec/revisionHistoryLimit",
            json!(-1),
            "spec.revisionHistoryLimit",
            "greater than or equal to 0",
            json!(0),
        ),
    ]
}

#[tokio::test]
async fn functions_are_refused_as_core_api_9_says() {
    check(function(), core_rows()).await;
}

#[tokio::test]
async fn functions_that_could_never_run_are_refused() {
    check(function(), further_rows()).await;
}

#[tokio::test]
async fn builders_are_refused_as_the_build_of_a_function_is() {
    let base = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Builder", "metadata": {"name": "b"},
        "spec": {"image": "a", "builder": "b", "srcRepo": {"url": "u"}}});
    check(
        base,
        vec![
            Row {
                id: "3",
                bad: vec![("/spec/builder", gone())],
                field: "spec.builder",
                message: "must be specified when dockerfile is not",
                good: vec![("/spec/builder", gone()), ("/spec/dockerfile", json!("D"))],
            },
            row("5", "/spec/srcRepo", json!({}), "spec.srcRepo", "must specify one of", json!({"url": "u"})),
            row("6", "/spec/timeout", json!("-1s"), "spec.timeout", "cannot be less than 0", json!("1s")),
        ],
    )
    .await;
}

#[tokio::test]
async fn servings_are_refused_as_the_serving_of_a_function_is() {
    let base = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Serving", "metadata": {"name": "s"}, "spec": {"image": "a"}});
    check(
        base,
        vec![
            row(
                "14",
                "/spec/scaleOptions",
                json!({"minReplicas": 11}),
                "spec.scaleOptions.minReplicas",
                "cannot be greater than maxReplicas",
                json!({"minReplicas": 10}),
            ),
            row(
                "33",
                "/spec/triggers",
                json!({"http": {"engine": "lambda"}}),
                "spec.triggers.http.engine",
                "supported values",
                json!({"http": {"engine": "native"}}),
            ),
            row(
                "template",
                "/spec/template",
                json!({"restartPolicy": "Never"}),
                "spec.template.containers",
                "Required value",
                json!({"containers": [], "newerField": {"x": 1}}),
            ),
        ],
    )
    .await;
}

/// The v1beta1 shapes of the rows that apply to them.
#[tokio::test(flavor = "multi_thread")]
async fn v1beta1_functions_are_refused_by_the_same_rules() {
    let (_server, client, _converter) = converting_server().await;
    let base = json!({"apiVersion": "core.openfunction.io/v1beta1", "kind": "Function", "metadata": {"name": "f"},
        "spec": {"image": "a", "build": {"builder": "b", "srcRepo": {"url": "u"}}, "serving": {"runtime": "knative"}}});
    check_with(
        &client,
        "default",
        base,
        vec![
            row("1", "/spec/image", json!(""), "spec.image", "must be specified", json!("a")),
            row(
                "2",
                "/spec/imageCredentials",
                json!({"name": ""}),
                "spec.imageCredentials.name",
                "must be specified",
                json!({"name": "s"}),
            ),
            Row {
                id: "3",
                bad: vec![("/spec/build/builder", gone())],
                field: "spec.build.builder",
                message: "must be specified",
                good: vec![("/spec/build/builder", gone()), ("/spec/build/dockerfile", json!("D"))],
            },
            row(
                "5",
                "/spec/build/srcRepo",
                json!({}),
                "spec.build.srcRepo",
                "must specify one of: url or bundleContainer",
                json!({"url": "u"}),
            ),
            row("6", "/spec/build/timeout", json!("-1s"), "spec.build.timeout", "cannot be less than 0", json!("1s")),
            row(
                "14",
                "/spec/serving/scaleOptions",
                json!({"minReplicas": 11}),
                "spec.serving.scaleOptions.minReplicas",
                "cannot be greater",
                json!({"minReplicas": 10}),
            ),
            row(
                "14",
                "/spec/serving/scaleOptions",
                json!({"minReplicas": 12}),
                "spec.serving.scaleOptions.minReplicas",
                "cannot be greater",
                json!({"minReplicas": 12, "keda": {"scaledObject": {"maxReplicaCount": 30}}}),
            ),
            row(
                "15",
                "/spec/serving/scaleOptions",
                json!({"keda": {"scaledObject": {}, "scaledJob": {}}}),
                "spec.serving.scaleOptions.keda",
                "exactly one of scaledJob and scaledObject",
                json!({"keda": {"scaledObject": {}}}),
            ),
            row(
                "runtime",
                "/spec/serving",
                json!({"runtime": "lambda"}),
                "spec.serving.runtime",
                r#"supported values: "knative", "async""#,
                json!({"runtime": "async"}),
            ),
        ],
    )
    .await;
}

fn gateway() -> Value {
    json!({"apiVersion": "networking.openfunction.io/v1alpha1", "kind": "Gateway", "metadata": {"name": "g"},
        "spec": {"domain": "ofn.io", "gatewayRef": {"name": "a", "namespace": "b"}, "gatewaySpec": {"listeners": [{"name": "a", "port": 80, "protocol": "HTTP"}]}}})
}

/// The rows of networking §4.2, by their number there with an N before it.
fn gateway_rows() -> Vec<Row> {
    let listeners = |name: &str| json!({"listeners": [{"name": name, "port": 80, "protocol": "HTTP"}]});
    vec![
        row("N1", "/spec/domain", json!(""), "spec.domain", "must specify domain", json!("ofn.io")),
        row(
            "N6",
            "/spec/gatewayRef",
            gone(),
            "spec.gatewayRef",
            "must specify at least one of gatewayRef and gatewayDef",
            json!({"name": "a", "namespace": "b"}),
        ),
        Row {
            id: "N7",
            bad: vec![("/spec/gatewayDef", json!({"namespace": "n", "gatewayClassName": "c"}))],
            field: "spec.gatewayRef",
            message: "specify at most one of gatewayRef and gatewayDef",
            good: vec![
                ("/spec/gatewayRef", gone()),
                ("/spec/gatewayDef", json!({"namespace": "n", "gatewayClassName": "c"})),
            ],
        },
        row(
            "N8",
            "/spec/gatewaySpec",
            listeners("ofn-http-internal"),
            "spec.gatewaySpec.listeners",
            "must specify at least one listener",
            listeners("ofn-http-external"),
        ),
        row("domain", "/spec/domain", json!("OFN.io"), "spec.domain", "must be a DNS name", json!("fn.ofn.io")),
        row(
            "port",
            "/spec/gatewaySpec",
            json!({"listeners": [{"name": "a", "port": 0, "protocol": "HTTP"}]}),
            "spec.gatewaySpec.listeners[0].port",
            "greater than or equal to 1",
            listeners("a"),
        ),
    ]
}

#[tokio::test]
async fn gateways_are_refused_as_networking_4_2_says() {
    check(gateway(), gateway_rows()).await;
}

#[tokio::test]
async fn event_kinds_that_could_never_run_are_refused() {
    let object = |kind: &str, spec: Value| json!({"apiVersion": "events.openfunction.io/v1alpha1", "kind": kind, "metadata": {"name": "e"}, "spec": spec});
    let kafka = json!({"brokers": "b:9092", "authRequired": false});
    check(
        object("EventSource", json!({"eventBus": "b", "kafka": {"k": kafka}})),
        vec![
            row(
                "sink or bus",
                "/spec/eventBus",
                json!(""),
                "spec",
                "at least one of eventBus and sink must be set",
                json!("b"),
            ),
            row(
                "sink",
                "/spec/sink",
                json!({}),
                "spec.sink",
                "at least one of uri and ref must be set",
                json!({"uri": "http://a"}),
            ),
            row(
                "kafka",
                "/spec/kafka/k",
                json!({"brokers": "b:9092"}),
                "spec.kafka.k.authRequired",
                "Required value",
                kafka.clone(),
            ),
            row(
                "redis",
                "/spec/redis",
                json!({"r": {"redisHost": "h:1", "redisPassword": "", "stream": "s", "list": "l"}}),
                "spec.redis[r].list",
                "at most one of stream and list",
                json!({"r": {"redisHost": "h:1", "redisPassword": "", "list": "l"}}),
            ),
        ],
    )
    .await;
    let nats = json!({"natsURL": "nats://n:4222", "natsStreamingClusterID": "c", "subscriptionType": "queue", "durableSubscriptionName": "d"});
    for kind in ["EventBus", "ClusterEventBus"] {
        check(
            object(kind, json!({"natsStreaming": nats})),
            vec![
                row(
                    "one bus",
                    "/spec/jetStream",
                    json!({"url": "nats://n:4222"}),
                    "spec",
                    "specify at most one of natsStreaming, jetStream, kafka and redisStreams",
                    absent(),
                ),
                row(
                    "nats",
                    "/spec/natsStreaming/natsURL",
                    gone(),
                    "spec.natsStreaming.natsURL",
                    "Required value",
                    json!("nats://n:4222"),
                ),
            ],
        )
        .await;
    }
    let input = json!({"eventSource": "s", "event": "e"});
    check(
        object(
            "Trigger",
            json!({"eventBus": "b", "inputs": {"a": input}, "subscribers": [{"condition": "a", "topic": "t"}]}),
        ),
        vec![
            row("bus", "/spec/eventBus", json!(""), "spec.eventBus", "must set spec.eventBus", json!("b")),
            row("E25", "/spec/inputs", json!({}), "spec.inputs", "must name at least one event", json!({"a": input})),
            row(
                "identifier",
                "/spec/inputs",
                json!({"input-a": input}),
                "spec.inputs",
                "must be a CEL identifier",
                json!({"inputA": input}),
            ),
            row(
                "reserved word",
                "/spec/inputs",
                json!({"in": input}),
                "spec.inputs",
                "must be a CEL identifier",
                json!({"in_": input}),
            ),
            row(
                "E39",
                "/spec/subscribers",
                json!([{"condition": ""}]),
                "spec.subscribers[0].condition",
                "must be a CEL expression",
                json!([{"condition": "true"}]),
            ),
        ],
    )
    .await;
}

#[test]
fn every_listed_rule_is_tested_or_documented_as_a_condition() {
    let page = std::fs::read_to_string(e2e::root().join("docs/reference/validation.md")).unwrap();
    let documented: BTreeSet<String> = page
        .lines()
        .filter(|line| line.contains("| condition `"))
        .filter_map(|line| Some(line.split('|').nth(1)?.trim().to_owned()))
        .collect();
    let tested: BTreeSet<String> = core_rows().iter().chain(&gateway_rows()).map(|row| row.id.to_owned()).collect();
    let listed = (1..=34).map(|n| n.to_string()).chain((1..=8).map(|n| format!("N{n}")));
    for id in listed {
        assert!(
            tested.contains(&id) != documented.contains(&id),
            "rule {id}: tested {}, documented as a condition {}",
            tested.contains(&id),
            documented.contains(&id)
        );
    }
}
