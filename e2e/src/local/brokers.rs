//! Message brokers and an S3 server, each a pod and a Service in the namespace of the local cluster's helpers. What they
//! keep outlives their container, but not their pod.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    image::{Content, File, Image, Layer, base, copy},
    local::{
        cluster::Cluster,
        git::NAMESPACE,
        part::Part,
        registry::{OPEN, PASSWORD, USER},
    },
    parts,
};

/// A broker: its name (also of its Service), what it is, its ports, and its image.
#[derive(Debug)]
pub struct Broker {
    name: &'static str,
    about: &'static str,
    ports: &'static [u16],
    image: fn() -> Result<Image>,
}

/// Redis, from Debian.
pub const REDIS: Broker = Broker { name: "redis", about: "Redis (port 6379)", ports: &[6379], image: redis };
/// Mosquitto, an MQTT broker, from Debian.
pub const MOSQUITTO: Broker =
    Broker { name: "mosquitto", about: "Mosquitto, MQTT (port 1883)", ports: &[1883], image: mosquitto };
/// NATS with `JetStream`, from its Go module.
pub const NATS: Broker =
    Broker { name: "nats", about: "NATS with JetStream (port 4222)", ports: &[4222, 8222], image: nats };
/// Kafka, from Maven.
pub const KAFKA: Broker = Broker { name: "kafka", about: "Kafka (port 9092)", ports: &[9092], image: kafka };

/// `MinIO`, an S3 server, from its Go module.
pub const MINIO: Broker = Broker { name: "minio", about: "MinIO, S3 (port 9000)", ports: &[9000], image: minio };

impl Part for Broker {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn needs(&self) -> &'static [&'static str] {
        // Its namespace.
        &["git"]
    }

    fn images(&self) -> Result<Vec<Image>> {
        Ok(vec![Image { name: format!("local/{}:1", self.name), ..(self.image)()? }])
    }

    fn objects(&self, _cluster: &Cluster) -> Result<Vec<Value>> {
        let labels = json!({"app": self.name});
        let metadata = json!({"name": self.name, "namespace": NAMESPACE});
        let ports: Vec<_> = self.ports.iter().map(|port| json!({"name": format!("p{port}"), "port": port})).collect();
        let container = json!({
            "name": self.name,
            "image": format!("{OPEN}/local/{}:1", self.name),
            // A later version of the image has the same name.
            "imagePullPolicy": "Always",
            "readinessProbe": {"periodSeconds": 1, "failureThreshold": 60, "tcpSocket": {"port": self.ports[0]}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        });
        let spec = json!({"enableServiceLinks": false, "containers": [container], "volumes": [{"name": "data", "emptyDir": {}}]});
        let pod = json!({"metadata": {"labels": labels}, "spec": spec});
        Ok(vec![
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
                "spec": {"selector": {"matchLabels": labels}, "strategy": {"type": "Recreate"}, "template": pod}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": labels, "ports": ports}}),
        ])
    }
}

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(|&word| word.to_owned()).collect()
}

fn redis() -> Result<Image> {
    Ok(Image {
        layers: vec![Layer::Debian(&["redis-server"]), base()],
        entrypoint: words(&[
            "redis-server",
            "--protected-mode",
            "no",
            "--save",
            "",
            "--appendonly",
            "yes",
            "--dir",
            "/data",
        ]),
        user: "65532:65532",
        ..Image::default()
    })
}

fn mosquitto() -> Result<Image> {
    let config = "listener 1883 0.0.0.0\nallow_anonymous true\n";
    let config = File("/etc/mosquitto-local.conf".to_owned(), Content::Text(config.to_owned()));
    Ok(Image {
        layers: vec![Layer::Debian(&["mosquitto", "mosquitto-clients"]), base(), Layer::Files(vec![config])],
        entrypoint: words(&["mosquitto", "-c", "/etc/mosquitto-local.conf"]),
        user: "65532:65532",
        ..Image::default()
    })
}

fn nats() -> Result<Image> {
    let mut image = Image::of_program("", &parts::NATS.built()?.join("nats-server"));
    image.entrypoint.extend(words(&["--jetstream", "--store_dir", "/tmp/jetstream", "--http_port", "8222"]));
    Ok(image)
}

fn kafka() -> Result<Image> {
    let files = vec![
        copy("/opt/kafka", parts::kafka()?),
        File("/etc/kafka.properties".to_owned(), Content::Text(include_str!("kafka.properties").to_owned())),
        File("/usr/bin/kafka".to_owned(), Content::Script(include_str!("kafka.sh").to_owned())),
    ];
    Ok(Image {
        layers: vec![Layer::Debian(&["openjdk-17-jre-headless", "dash"]), base(), Layer::Files(files)],
        entrypoint: words(&["kafka"]),
        command: words(&["serve"]),
        user: "65532:65532",
        ..Image::default()
    })
}

fn minio() -> Result<Image> {
    let programs = parts::MINIO.built()?;
    let mut image = Image::of_program("", &programs.join("minio"));
    image.entrypoint.extend(words(&["server", "/tmp/minio", "--address", ":9000"]));
    image.environment = vec![
        format!("MINIO_ROOT_USER={USER}"),
        format!("MINIO_ROOT_PASSWORD={PASSWORD}"),
        // Its client, for a look inside.
        "MC_CONFIG_DIR=/tmp/mc".to_owned(),
        format!("MC_HOST_local=http://{USER}:{PASSWORD}@localhost:9000"),
    ];
    Ok(image.with(vec![copy("/usr/bin/mc", programs.join("mc"))]))
}
