//! Brokers as they are started for tests and benchmarks.

use std::{path::Path, process::Command};

use e2e::{
    api_server::free_ports,
    parts::{self, NATS},
};

use crate::support::Program;

/// NATS with JetStream, which syncs its files as it is told (`sync_interval`); and its URL. With `always`, `kill -9` of it
/// takes nothing that it has confirmed.
pub fn nats(sync: &str) -> (Program, String) {
    let [port] = free_ports().unwrap();
    let program = Program::start(&NATS.built().unwrap().join("nats-server"), port, |folder| {
        let (file, store) = (folder.join("nats.conf"), folder.join("store"));
        let config =
            format!("jetstream {{ store_dir: {store:?}, sync_interval: {sync} }}\nlisten: \"127.0.0.1:{port}\"\n");
        std::fs::write(&file, config).unwrap();
        vec!["-c".to_owned(), file.display().to_string()]
    });
    (program, format!("nats://127.0.0.1:{port}"))
}

/// Kafka with a listener of a kind, and what its configuration has besides; the port.
pub fn kafka(listener: &str, more: &[String], users: &[&str]) -> (Program, u16) {
    let [port, controller, plain] = free_ports().unwrap();
    let java = Path::new("java");
    let program = tokio::task::block_in_place(|| {
        Program::start(java, port, |folder| {
            let file = folder.join("kafka.properties");
            let listeners = format!("{listener}://127.0.0.1:{port},INTERNAL://127.0.0.1:{plain}");
            let lines = [
                "process.roles=broker,controller".to_owned(),
                "node.id=1".to_owned(),
                format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
                "controller.listener.names=CONTROLLER".to_owned(),
                "inter.broker.listener.name=INTERNAL".to_owned(),
                format!("listeners={listeners},CONTROLLER://127.0.0.1:{controller}"),
                format!("advertised.listeners={listeners}"),
                format!("listener.security.protocol.map={listener}:{listener},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"),
                format!("log.dirs={}", folder.join("logs").display()),
                "num.partitions=3".to_owned(),
                "offsets.topic.replication.factor=1".to_owned(),
                "offsets.topic.num.partitions=1".to_owned(),
                "transaction.state.log.replication.factor=1".to_owned(),
                "transaction.state.log.min.isr=1".to_owned(),
                "group.initial.rebalance.delay.ms=0".to_owned(),
            ];
            std::fs::write(&file, [&lines[..], more].concat().join("\n")).unwrap();
            let file = file.display().to_string();
            let format = ["kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c", &file];
            let formatted = Command::new(java).args(kafka_class(&[&format, users].concat())).output().unwrap();
            assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
            kafka_class(&["kafka.Kafka", &file])
        })
    });
    (program, port)
}

/// Arguments of Java that run a class of Kafka.
pub fn kafka_class(class: &[&str]) -> Vec<String> {
    let libraries = format!("{}/*", parts::kafka().unwrap().display());
    let start = ["-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", &libraries];
    start.iter().chain(class).map(|word| (*word).to_owned()).collect()
}
