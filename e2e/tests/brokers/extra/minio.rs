//! MinIO, an S3-compatible server.

use std::{path::Path, process::Command};

use e2e::{api_server::free_ports, parts::MINIO};
use serde_json::json;

use crate::{
    jetstream, stories,
    support::{Program, source, until_ready},
};

#[tokio::test(flavor = "multi_thread")]
async fn ev6_objects_that_are_made_and_removed_are_events() {
    let programs = MINIO.built().unwrap();
    let bus = jetstream::broker().await;
    let [s3, hooks] = free_ports().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "s3cret").unwrap();
    let (_source, port) = source(&json!({"name": "n-s", "source": "/s", "bus": bus.config,
        "webhookAddress": format!("127.0.0.1:{hooks}"),
        "events": {"a": {"topic": "n-s-a", "from": {"s3": {"path": "/images", "secret": secret}}}}}));
    until_ready(port).await;
    let _minio = Program::start(Path::new("env"), s3, |folder| {
        let variables = [
            ("MINIO_NOTIFY_WEBHOOK_ENABLE_OFN", "on".to_owned()),
            ("MINIO_NOTIFY_WEBHOOK_ENDPOINT_OFN", format!("http://127.0.0.1:{hooks}/images")),
            ("MINIO_NOTIFY_WEBHOOK_AUTH_TOKEN_OFN", "s3cret".to_owned()),
            ("MINIO_NOTIFY_WEBHOOK_QUEUE_DIR_OFN", folder.join("queue").display().to_string()),
        ];
        let variables = variables.map(|(name, value)| format!("{name}={value}"));
        let (server, data) = (programs.join("minio"), folder.join("data"));
        let words = [server.display().to_string(), "server".to_owned(), data.display().to_string()];
        let address = ["--address".to_owned(), format!("127.0.0.1:{s3}")];
        variables.into_iter().chain(words).chain(address).collect()
    });
    let mc = |arguments: &[&str]| {
        let host = format!("http://minioadmin:minioadmin@127.0.0.1:{s3}");
        let mut mc = Command::new(programs.join("mc"));
        mc.env("MC_HOST_it", host).env("MC_CONFIG_DIR", folder.path()).args(["--quiet"]).args(arguments);
        let done = mc.output().unwrap();
        assert!(
            done.status.success(),
            "{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
    };
    mc(&["ready", "it"]);
    mc(&["mb", "it/images"]);
    mc(&["event", "add", "it/images", "arn:minio:sqs::OFN:webhook", "--event", "put,delete"]);
    mc(&["cp", secret.to_str().unwrap(), "it/images/a photo.jpg"]);
    mc(&["rm", "it/images/a photo.jpg"]);
    let mut consumer = bus.bus.subscribe(&stories::all_of("n-s-a")).await.unwrap();
    let mut types = Vec::new();
    for _ in 0..2 {
        let event = consumer.next().await.unwrap().event().unwrap();
        assert_eq!(event.source, "minio:s3.images");
        assert_eq!(event.attributes["subject"], "a+photo.jpg".into());
        types.push(event.type_);
    }
    types.sort();
    assert_eq!(types, ["com.amazonaws.s3.ObjectCreated:Put", "com.amazonaws.s3.ObjectRemoved:Delete"]);
}
