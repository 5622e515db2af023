//! A topic filter of MQTT 3.1.1 or 5. With a quality of service of 1 or 2 the broker is told that it has delivered when
//! the event was handled, and until then it keeps it, also while this process is away.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use event_bus::{
    bus::{Consumer, Delivery, Error, Lag, Receipt},
    files::{key_pair, read_some},
    wire::{Message, Protocol},
};
use event_delivery::take::{Origin, now};
use futures::{FutureExt, future::BoxFuture};
use rumqttc_v5::{PersistedAckMode, PersistedSession, SessionStore, SessionStoreError, SessionStoreKey};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::timeout,
};
use uuid::Uuid;

use crate::config::{Mqtt, MqttVersion};

/// How long the broker may take to connect and to take a subscription.
const ANSWER: Duration = Duration::from_secs(10);

/// Seconds without a sign of life.
const KEEP_ALIVE: u16 = 30;

/// The largest packet in bytes.
const LARGEST: u32 = 16 << 20;

/// The origin of a topic filter, of which so many events may be worked on at one time.
pub fn origin(name: &str, config: &Mqtt, in_flight: usize) -> Arc<dyn Origin> {
    Arc::new(Filter { name: name.to_owned(), config: config.clone(), in_flight: in_flight.max(1) })
}

#[derive(Debug)]
struct Filter {
    name: String,
    config: Mqtt,
    in_flight: usize,
}

impl Origin for Filter {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        async {
            let target = Target::of(&self.config).await?;
            let opened = match self.config.version {
                MqttVersion::V3 => v3::open(&self.config, target, self.in_flight).await?,
                MqttVersion::V5 => v5::open(&self.config, target, self.in_flight).await?,
            };
            Ok(Box::new(opened) as Box<dyn Consumer>)
        }
        .boxed()
    }
}

/// Where the broker is, and what it asks for.
struct Target {
    host: String,
    port: u16,
    tls: Option<Tls>,
    credentials: Option<(String, String)>,
}

/// With no authorities those of the system are trusted.
struct Tls {
    ca: Option<Vec<u8>>,
    client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Target {
    async fn of(config: &Mqtt) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Refused(format!("url: Invalid value: {:?}: {reason}", config.url));
        let url = reqwest::Url::parse(&config.url).map_err(|error| wrong(&error.to_string()))?;
        let (is_tls, usual) = match url.scheme() {
            "tcp" | "mqtt" => (false, 1883),
            "ssl" | "tls" | "mqtts" | "tcps" => (true, 8883),
            _ => return Err(wrong("must begin with tcp://, mqtt://, ssl://, tls:// or mqtts://")),
        };
        let is_tls = is_tls || config.tls;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it names no host"))?;
        let client = key_pair(&config.certificate, &config.key).await?;
        let tls = Tls { ca: read_some(config.ca.as_ref()).await?, client };
        let credentials = match (&config.username, &config.password) {
            (Some(name), Some(password)) => Some((name.clone(), password.secret().await?)),
            (Some(name), None) => Some((name.clone(), String::new())),
            (None, None) if !url.username().is_empty() => {
                Some((url.username().to_owned(), url.password().unwrap_or_default().to_owned()))
            }
            (None, None) => None,
            (None, Some(_)) => return Err(Error::Refused("username: Required value: password is set".to_owned())),
        };
        Ok(Self {
            host: host.to_owned(),
            port: url.port().unwrap_or(usual),
            tls: (is_tls || config.ca.is_some() || config.certificate.is_some()).then_some(tls),
            credentials,
        })
    }
}

/// What a connection gives.
struct Taken {
    taken: mpsc::UnboundedReceiver<Result<Delivery, Error>>,
    task: JoinHandle<()>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Consumer for Taken {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, Error>> {
        async {
            let ended = || Err(Error::Unavailable("the connection to the broker has ended".to_owned()));
            self.taken.recv().await.unwrap_or_else(ended)
        }
        .boxed()
    }

    fn lag(&self) -> Option<Lag> {
        None
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        // What was acknowledged last is still on its way.
        async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(self);
        }
        .boxed()
    }
}

/// Events of quality 0 that may wait; the broker says how many of the others.
type Places = Arc<Semaphore>;

fn delivery(topic: &[u8], is_again: bool, message: Message, receipt: Box<dyn Receipt>) -> Delivery {
    Delivery {
        message,
        protocol: Protocol::Mqtt,
        // A message has no name that stays.
        id: Uuid::new_v4().to_string(),
        // The order of a topic is kept.
        key: Some(String::from_utf8_lossy(topic).into_owned()),
        at: now(),
        is_again,
        receipt,
    }
}

fn refused(what: &dyn fmt::Debug) -> Error {
    Error::Refused(format!("the broker refuses: {what:?}"))
}

/// A process only receives: of a session that the broker has kept there is nothing that it would have to know, and it need
/// not ask for a file to know that. Without this the client of MQTT 5 subscribes in no session of before.
#[derive(Debug)]
struct NothingSent(String);

impl SessionStore for NothingSent {
    fn load<'a>(
        &'a self,
        _: &'a SessionStoreKey,
    ) -> BoxFuture<'a, Result<Option<PersistedSession>, SessionStoreError>> {
        let session = PersistedSession {
            format_version: 1,
            client_id: self.0.clone(),
            clean_start: false,
            session_expiry_interval: Some(u32::MAX),
            outgoing_inflight_upper_limit: None,
            ack_mode: PersistedAckMode::Manual,
            last_pkid: 0,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: Vec::new(),
        };
        async { Ok(Some(session)) }.boxed()
    }

    fn save<'a>(
        &'a self,
        _: &'a SessionStoreKey,
        _: &'a PersistedSession,
    ) -> BoxFuture<'a, Result<(), SessionStoreError>> {
        async { Ok(()) }.boxed()
    }

    fn clear<'a>(&'a self, _: &'a SessionStoreKey) -> BoxFuture<'a, Result<(), SessionStoreError>> {
        async { Ok(()) }.boxed()
    }
}

/// The same for both versions, whose crates have the same shape.
macro_rules! version {
    ($module:ident, $crate_:ident, $options:expr, $headers:expr, $passing:pat) => {
        mod $module {
            use $crate_::{
                AckMode, AsyncClient, ConnectReturnCode as Code, ConnectionError, Event, EventLoop, Incoming,
                MqttOptions, Publish, QoS, SessionMode, SubscribeReasonCode, TlsConfiguration, Transport,
            };

            use super::*;

            fn options(config: &Mqtt, target: Target, in_flight: usize) -> Result<MqttOptions, Error> {
                let mut options = MqttOptions::new(config.client_id.clone(), (target.host, target.port));
                options.set_keep_alive(KEEP_ALIVE).set_ack_mode(AckMode::Manual);
                let mode = if config.clean_session { SessionMode::Clean } else { SessionMode::Persistent };
                options.set_session_mode(mode);
                if let Some((name, password)) = target.credentials {
                    options.set_credentials(name, password);
                }
                if let Some(tls) = target.tls {
                    let configuration = match tls.ca {
                        Some(ca) => TlsConfiguration::Simple { ca, alpn: None, client_auth: tls.client },
                        None if tls.client.is_some() => {
                            return Err(Error::Refused("ca: Required value: certificate is set".to_owned()));
                        }
                        None => TlsConfiguration::try_default_rustls()
                            .map_err(|error| Error::Refused(format!("authorities of the system: {error}")))?,
                    };
                    options.set_transport(Transport::tls_with_config(configuration));
                }
                let more: fn(&mut MqttOptions, u16) = $options;
                more(&mut options, u16::try_from(in_flight).unwrap_or(u16::MAX));
                Ok(options)
            }

            fn problem(error: &ConnectionError) -> Error {
                match error {
                    ConnectionError::ConnectionRefused($passing) => Error::Unavailable(error.to_string()),
                    ConnectionError::ConnectionRefused(_) => Error::Refused(error.to_string()),
                    _ => Error::Unavailable(error.to_string()),
                }
            }

            pub async fn open(config: &Mqtt, target: Target, in_flight: usize) -> Result<Taken, Error> {
                let options = options(config, target, in_flight)?;
                let (client, mut events) = AsyncClient::builder(options).capacity(in_flight + 8).build();
                let qos = match config.qos {
                    0 => QoS::AtMostOnce,
                    1 => QoS::AtLeastOnce,
                    _ => QoS::ExactlyOnce,
                };
                let asked = client.subscribe(config.topic.clone(), qos).await;
                asked.map_err(|error| Error::Refused(format!("topic {:?}: {error}", config.topic)))?;
                let (give, taken) = mpsc::unbounded_channel();
                let given = Giver { client, give, places: Arc::new(Semaphore::new(in_flight)), retain: config.retain };
                let subscribed = timeout(ANSWER, given.until_subscribed(&mut events)).await;
                subscribed.map_err(|_| Error::Unavailable("the broker does not answer".to_owned()))??;
                let task = tokio::spawn(given.run(events));
                Ok(Taken { taken, task })
            }

            struct Giver {
                client: AsyncClient,
                give: mpsc::UnboundedSender<Result<Delivery, Error>>,
                places: Places,
                retain: bool,
            }

            impl Giver {
                /// What the broker has kept may come before.
                async fn until_subscribed(&self, events: &mut EventLoop) -> Result<(), Error> {
                    loop {
                        match events.poll().await.map_err(|error| problem(&error))? {
                            Event::Incoming(Incoming::SubAck(answer)) => {
                                let codes = &answer.return_codes;
                                let is_taken = codes.iter().all(|code| matches!(code, SubscribeReasonCode::Success(_)));
                                return if is_taken { Ok(()) } else { Err(refused(codes)) };
                            }
                            Event::Incoming(Incoming::Publish(publish)) => self.publish(publish).await,
                            _ => {}
                        }
                    }
                }

                /// Until the connection ends; then it is all made anew.
                async fn run(self, mut events: EventLoop) {
                    loop {
                        match events.poll().await {
                            Ok(Event::Incoming(Incoming::Publish(publish))) => self.publish(publish).await,
                            Ok(_) => {}
                            Err(error) => {
                                let _ = self.give.send(Err(problem(&error)));
                                return;
                            }
                        }
                    }
                }

                async fn publish(&self, publish: Publish) {
                    if publish.retain && !self.retain {
                        let _ = self.client.ack(&publish).await;
                        return;
                    }
                    let place = match (publish.qos, self.places.clone().try_acquire_owned()) {
                        (_, Ok(place)) => Some(place),
                        (QoS::AtMostOnce, Err(_)) => {
                            tracing::warn!("a message of quality 0 is left out: too many wait");
                            return;
                        }
                        (_, Err(_)) => None,
                    };
                    let headers: fn(&Publish) -> Vec<(String, String)> = $headers;
                    let message = Message { headers: headers(&publish), body: publish.payload.clone() };
                    let (topic, dup) = (publish.topic.clone(), publish.dup);
                    let receipt = Given {
                        client: self.client.clone(),
                        publish: Publish { payload: Bytes::new(), ..publish },
                        _place: place,
                    };
                    let _ = self.give.send(Ok(delivery(&topic, dup, message, Box::new(receipt))));
                }
            }

            struct Given {
                client: AsyncClient,
                /// Without its payload.
                publish: Publish,
                _place: Option<tokio::sync::OwnedSemaphorePermit>,
            }

            impl fmt::Debug for Given {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.debug_struct("Given").field("pkid", &self.publish.pkid).finish_non_exhaustive()
                }
            }

            impl Receipt for Given {
                fn handled(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>> {
                    async move {
                        let told = self.client.ack(&self.publish).await;
                        told.map_err(|error| Error::Unavailable(error.to_string()))
                    }
                    .boxed()
                }
            }
        }
    };
}

version!(
    v3,
    rumqttc_v4,
    |options, _| {
        options.set_max_packet_size(LARGEST as usize, LARGEST as usize);
    },
    |_| Vec::new(),
    Code::ServiceUnavailable
);

version!(
    v5,
    rumqttc_v5,
    |options, in_flight| {
        if !options.clean_start() {
            options.set_session_store(NothingSent(options.client_id()));
        }
        options.set_max_packet_size(Some(LARGEST)).set_receive_maximum(Some(in_flight));
    },
    |publish| {
        let properties = publish.properties.iter();
        let headers = properties.flat_map(|properties| {
            let content_type = properties.content_type.iter();
            let content_type = content_type.map(|content_type| ("content-type".to_owned(), content_type.clone()));
            properties.user_properties.iter().cloned().chain(content_type)
        });
        headers.collect()
    },
    Code::ServerUnavailable | Code::ServerBusy | Code::QuotaExceeded | Code::ConnectionRateExceeded
);
