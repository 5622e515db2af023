//! Mosquitto, an MQTT broker.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use e2e::api_server::free_ports;
use serde_json::{Value, json};

use crate::{
    jetstream, stories,
    support::{Program, Receiver, event, events, eventually, source, until_ready},
};

/// Mosquitto with TLS and a password, and without.
struct Mosquitto {
    programs: PathBuf,
    plain: u16,
    tls: u16,
    folder: tempfile::TempDir,
    _program: Program,
}

const PASSWORD: &str = "s3cret";

fn run_with(libraries: &Path, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", libraries);
    command
}

impl Mosquitto {
    fn start() -> Self {
        let programs = e2e::debian::programs("mosquitto", &["mosquitto", "mosquitto-clients"]).unwrap();
        let [plain, tls] = free_ports().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let authority = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            file.display().to_string()
        };
        let (certificate, key) =
            (write("tls.crt", &authority.cert.pem()), write("tls.key", &authority.signing_key.serialize_pem()));
        let passwords = write("passwords", &format!("user:{PASSWORD}\n"));
        write("password", PASSWORD);
        write("wrong", "wrong");
        let libraries = programs.join("usr/lib/x86_64-linux-gnu");
        let hashed = run_with(&libraries, &programs.join("usr/bin/mosquitto_passwd")).args(["-U", &passwords]).status();
        assert!(hashed.unwrap().success());
        let config = [
            "per_listener_settings true".to_owned(),
            "user root".to_owned(),
            format!("listener {plain} 127.0.0.1"),
            "allow_anonymous true".to_owned(),
            "max_queued_messages 0".to_owned(),
            format!("listener {tls} 127.0.0.1"),
            "allow_anonymous false".to_owned(),
            format!("password_file {passwords}"),
            format!("certfile {certificate}"),
            format!("keyfile {key}"),
        ];
        let config = write("mosquitto.conf", &config.join("\n"));
        let program = Program::start(Path::new("env"), plain, |_| {
            let server = programs.join("usr/sbin/mosquitto").display().to_string();
            vec![format!("LD_LIBRARY_PATH={}", libraries.display()), server, "-c".to_owned(), config]
        });
        Self { programs, plain, tls, folder, _program: program }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A client that publishes each line to `orders`.
    fn publisher(&self, more: &[&str]) -> Command {
        let libraries = self.programs.join("usr/lib/x86_64-linux-gnu");
        let mut command = run_with(&libraries, &self.programs.join("usr/bin/mosquitto_pub"));
        command.args(["-h", "127.0.0.1", "-p", &self.plain.to_string(), "-t", "orders/new", "-q", "1"]).args(more);
        command
    }
}

fn config(receiver: &Receiver, mqtt: Value) -> Value {
    json!({"name": "shop-source", "source": "/s", "sink": receiver.url, "events": {"a": {"from": {"mqtt": mqtt}}}})
}

/// Events pass while the process is killed; the broker keeps what it has not acknowledged.
async fn none_is_lost(version: &str) {
    let broker = Mosquitto::start();
    let receiver = Receiver::start().await;
    let mqtt = json!({"url": format!("tcp://127.0.0.1:{}", broker.plain), "topic": "orders/#", "clientId": "shop-a",
        "version": version});
    let (mut source, port) = source(&config(&receiver, mqtt));
    until_ready(port).await;
    let number = events();
    let mut publisher = broker.publisher(&["-l"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = publisher.stdin.take().unwrap();
    let publishing = std::thread::spawn(move || {
        for number in 0..number {
            lines.write_all(&event(number, 100).to_json()).unwrap();
            lines.write_all(b"\n").unwrap();
        }
        drop(lines);
        assert!(publisher.wait().unwrap().success());
    });
    for fifths in [1, 3] {
        receiver.until(number * fifths / 5).await;
        tokio::task::block_in_place(|| source.kill());
    }
    tokio::task::block_in_place(|| publishing.join().unwrap());
    receiver.until(number).await;
    let (seen, again) = receiver.counts();
    println!("{seen} events of MQTT {version}, the process killed twice, {again} came again");
}

#[tokio::test(flavor = "multi_thread")]
async fn ev5_no_event_of_mqtt_3_is_lost_when_the_process_is_killed() {
    none_is_lost("3.1.1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ev5_no_event_of_mqtt_5_is_lost_when_the_process_is_killed() {
    none_is_lost("5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ev5_properties_of_mqtt_5_are_attributes_and_its_topic_is_the_key() {
    let broker = Mosquitto::start();
    let bus = jetstream::broker().await;
    let mqtt = json!({"url": format!("mqtt://127.0.0.1:{}", broker.plain), "topic": "orders/#", "clientId": "c", "version": "5"});
    let (_source, port) = source(&json!({"name": "n-s", "source": "/s", "bus": bus.config,
        "events": {"a": {"topic": "n-s-a", "from": {"mqtt": mqtt}}}}));
    until_ready(port).await;
    let subscription = stories::all_of("n-s-a");
    let mut consumer = bus.bus.subscribe(&subscription).await.unwrap();
    let property = |name, value| ["-D", "PUBLISH", "user-property", name, value];
    let named = [("specversion", "1.0"), ("id", "7"), ("source", "/there"), ("type", "t")];
    let named: Vec<_> = named.iter().flat_map(|(name, value)| property(name, value)).collect();
    let publish = |more: &[&str]| {
        assert!(broker.publisher(&["-V", "mqttv5", "-m", "text"]).args(more).status().unwrap().success());
    };
    publish(&[&named[..], &["-D", "PUBLISH", "content-type", "text/plain"]].concat());
    publish(&[]);
    let event = consumer.next().await.unwrap().event().unwrap();
    assert_eq!((&*event.id, &*event.source, event.content_type.as_deref()), ("7", "/there", Some("text/plain")));
    assert_eq!(event.attributes["partitionkey"], "orders/new".into());
    let event = consumer.next().await.unwrap().event().unwrap();
    assert_eq!((&*event.source, &*event.type_), ("/s#a", "io.openfunction.eventsource.mqtt"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_certificate_of_nobody_are_told_and_mended_without_a_restart() {
    let broker = Mosquitto::start();
    let receiver = Receiver::start().await;
    let url = format!("ssl://127.0.0.1:{}", broker.tls);
    let mqtt = |ca: Option<&str>, password: &str| {
        let ca = ca.map(|name| broker.file(name));
        config(
            &receiver,
            json!({"url": url, "topic": "orders/#", "clientId": "c", "username": "user",
            "password": broker.file(password), "ca": ca}),
        )
    };
    for version in ["3.1.1", "5"] {
        let with_version = |mut config: Value| {
            config["events"]["a"]["from"]["mqtt"]["version"] = json!(version);
            config
        };
        let (program, port) = source(&with_version(mqtt(None, "password")));
        let ready = format!("http://127.0.0.1:{port}/ready");
        let says = async |what: &str| {
            let told = async || {
                let text = reqwest::get(&ready).await.unwrap().text().await.unwrap();
                text.contains(what).then_some(())
            };
            eventually(what, told).await;
        };
        says("a: TLS: ").await;
        program.configure(&with_version(mqtt(Some("tls.crt"), "wrong")));
        says("NotAuthorized").await;
        program.configure(&with_version(mqtt(Some("tls.crt"), "password")));
        says("ready").await;
    }
}
