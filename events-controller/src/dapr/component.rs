//! Components of Dapr.

use event_bus::kafka::Mechanism;
use openfunction_proto::{
    core::{ComponentMetadata, ComponentSpec, SecretKeyRef},
    events::{EventBusSpec, JetStream, RedisStreams, SecretKeySelector, Tls},
};
use reqwest::Url;
use serde_json::Value;

use super::not_supported;
use crate::{
    bus::{Found, Reading, mechanism},
    problem::Problem,
};

/// A component of Dapr, setting by setting.
#[derive(Default)]
pub struct Component(Vec<ComponentMetadata>);

impl Component {
    /// With a setting.
    pub fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.push(ComponentMetadata { name: name.to_owned(), value: Some(value.into()), ..Default::default() });
        self
    }

    /// With a setting, if it is there.
    pub fn set_some(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }

    /// With what a Secret has, or else what is said in plain text.
    pub fn secret(mut self, name: &str, of: Option<&SecretKeySelector>, plain: Option<&String>) -> Self {
        let Some(SecretKeySelector { name: secret, key }) = of else {
            return self.set_some(name, plain.filter(|value| !value.is_empty()).cloned());
        };
        let secret_key_ref = Some(SecretKeyRef { name: secret.clone(), key: key.clone() });
        self.0.push(ComponentMetadata { name: name.to_owned(), secret_key_ref, ..Default::default() });
        self
    }

    /// With a connection to Kafka. Dapr speaks TLS where it authenticates, and nowhere else.
    ///
    /// # Errors
    /// Dapr cannot.
    pub fn kafka(self, server: &KafkaServer, path: &str) -> Result<Self, Problem> {
        let default = Tls::default();
        let Tls { ca_cert_secret_ref: ca, client_cert_secret_ref: certificate, client_key_secret_ref: key } =
            server.tls.unwrap_or(&default);
        let auth_type = match (server.user, server.tls) {
            (Some(_), _) if certificate.is_some() => {
                let path = format!("{path}.tls.clientCertSecretRef");
                return Err(not_supported(&path, "Dapr shows Kafka either a password or a certificate"));
            }
            (Some(_), _) => "password",
            (None, None) => "none",
            (None, Some(_)) if ca.is_none() => {
                let why = "with Dapr, Kafka without SASL needs caCertSecretRef";
                return Err(not_supported(&format!("{path}.tls"), why));
            }
            (None, Some(_)) if certificate.is_some() => "mtls",
            (None, Some(_)) => "certificate",
        };
        let component = self.set("brokers", server.brokers).set("authType", auth_type);
        let component = match server.user {
            None => component,
            Some(user) => component
                .set("saslUsername", user)
                .secret("saslPassword", server.password, server.plain_password)
                .set("saslMechanism", mechanism_of(server))
                .set_some("disableTls", server.tls.is_none().then_some(true)),
        };
        let component = component.secret("caCert", ca.as_ref(), None);
        Ok(component.secret("clientCert", certificate.as_ref(), None).secret("clientKey", key.as_ref(), None))
    }

    /// The component, of a type.
    pub fn of(self, type_: &str) -> ComponentSpec {
        let (type_, version) = (type_.to_owned(), "v1".to_owned());
        ComponentSpec { type_, version, metadata: self.0, ..ComponentSpec::default() }
    }
}

/// Dapr's name of it.
fn mechanism_of(server: &KafkaServer) -> &'static str {
    match mechanism(server.mechanism) {
        Mechanism::Plain => "PLAINTEXT",
        Mechanism::ScramSha256 => "SHA-256",
        Mechanism::ScramSha512 => "SHA-512",
    }
}

/// How Kafka is spoken to.
pub struct KafkaServer<'a> {
    /// Addresses of the brokers.
    pub brokers: &'a str,
    /// Who asks, with SASL.
    pub user: Option<&'a str>,
    /// The password.
    pub password: Option<&'a SecretKeySelector>,
    /// The password in plain text.
    pub plain_password: Option<&'a String>,
    /// How the password is shown.
    pub mechanism: Option<&'a str>,
    /// TLS, if it is spoken.
    pub tls: Option<&'a Tls>,
}

/// A bus as a component; `consumer` is who reads it, if somebody does.
///
/// # Errors
/// It has no kind, or Dapr cannot reach it.
pub fn bus(bus: &Found, consumer: Option<&str>) -> Result<ComponentSpec, Problem> {
    let EventBusSpec { topic: _, nats_streaming, jet_stream, kafka, redis_streams } = &bus.spec;
    let path = |kind: &str| format!("{} {:?}: spec.{kind}", bus.kind, bus.name);
    // NATS Streaming is JetStream, too (EV19).
    if let Some(nats) = nats_streaming {
        return Ok(jetstream(&nats.nats_url, None, consumer.map(|consumer| (consumer, bus.reading()))));
    }
    if let Some(JetStream { url, stream, credentials_secret_ref, tls, scale_option: _ }) = jet_stream {
        let why = "Dapr reads no credentials and certificates for JetStream from Secrets";
        for (field, is_set) in [("credentialsSecretRef", credentials_secret_ref.is_some()), ("tls", tls.is_some())] {
            if is_set {
                return Err(not_supported(&path(&format!("jetStream.{field}")), why));
            }
        }
        return Ok(jetstream(url, stream.as_deref(), consumer.map(|consumer| (consumer, bus.reading()))));
    }
    if let Some(kafka) = kafka {
        let server = KafkaServer {
            brokers: &kafka.brokers,
            user: kafka.sasl_username.as_deref(),
            password: kafka.sasl_password_secret_ref.as_ref(),
            plain_password: None,
            mechanism: kafka.sasl_mechanism.as_deref(),
            tls: kafka.tls.as_ref(),
        };
        let component = Component::default().kafka(&server, &path("kafka"))?;
        return Ok(component.set_some("consumerGroup", consumer).of("pubsub.kafka"));
    }
    match redis_streams {
        Some(bus) => redis(bus, consumer, &path("redisStreams")),
        None => Err(bus.without_kind()),
    }
}

/// Dapr refuses a consumer that exists with other limits: those are changed before it starts ([`super::keeping`]). Where
/// it begins cannot be changed, and is told by its name ([`super::trigger::consumer`]).
fn jetstream(url: &str, stream: Option<&str>, reader: Option<(&str, Reading)>) -> ComponentSpec {
    let component = Component::default().set("natsURL", url);
    let Some((consumer, reading)) = reader else { return component.of("pubsub.jetstream") };
    component
        .set("durableName", consumer)
        .set("queueGroupName", consumer)
        .set("deliverPolicy", if reading.from_the_beginning { "all" } else { "new" })
        .set_some("ackWait", reading.redelivery.map(|wait| format!("{}ms", wait.as_millis())))
        .set_some("maxAckPending", reading.in_flight)
        .set_some("streamName", stream)
        .of("pubsub.jetstream")
}

fn redis(redis: &RedisStreams, consumer: Option<&str>, path: &str) -> Result<ComponentSpec, Problem> {
    if redis.tls.is_some() {
        let why = "Dapr reads no certificates for Redis from Secrets";
        return Err(not_supported(&format!("{path}.tls"), why));
    }
    let wrong = |why: String| Problem::configuration(format!("{path}.url: Invalid value: {why}"));
    let url = Url::parse(&redis.url).map_err(|error| wrong(error.to_string()))?;
    let host = url.host_str().ok_or_else(|| wrong("has no host".to_owned()))?;
    if !url.username().is_empty() || url.password().is_some() {
        let why = "with Dapr, who asks is said by username and passwordSecretRef";
        return Err(not_supported(&format!("{path}.url"), why));
    }
    if url.scheme() == "rediss" {
        let why = "Dapr does not look at the certificate of Redis";
        return Err(not_supported(&format!("{path}.url"), why));
    }
    let database = url.path().trim_matches('/');
    Ok(Component::default()
        .set("redisHost", format!("{host}:{}", url.port().unwrap_or(6379)))
        .set_some("redisUsername", redis.username.clone())
        .secret("redisPassword", redis.password_secret_ref.as_ref(), None)
        .set_some("redisDB", Some(database).filter(|number| !number.is_empty()))
        .set_some("consumerID", consumer)
        .of("pubsub.redis"))
}
