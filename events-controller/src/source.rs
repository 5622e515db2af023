//! What an EventSource becomes: one handler for each of its events.

use std::{collections::BTreeSet, time::Duration};

use controller_runtime::conditions::NewCondition;
use event_delivery::take::{in_flight, redelivery};
use event_source::config::{self, Config, EventConfig, From, MqttVersion, RedisKey};
use kube::ResourceExt;
use openfunction_proto::{
    core::ScaleOptions,
    events::{Cron, EventSource, EventSourceSpec, Kafka, Mqtt, Redis, Webhook},
};

use crate::{
    bus::{Found, mechanism},
    dapr::{self, Program},
    handler::{self, Handler, METRICS_PORT, Native, WEBHOOK_PORT},
    names,
    plan::{Plan, Settings, any_bus, any_sink, checked_topic},
    problem::Problem,
    scale::{self, Group, KafkaReader},
    secrets::Secrets,
    sink::Address,
};

/// What an EventSource meets.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Its bus, if it names one.
    pub bus: Option<Result<Found, Problem>>,
    /// URL of its sink, if it has one.
    pub sink: Option<Result<Address, Problem>>,
    /// URL of the sink of its dead letters, if it has one.
    pub dead_letter_sink: Option<Result<Address, Problem>>,
    /// One of its topics that an older EventSource has on the same bus, too (BUG-E11), and whose it is.
    pub shared_topic: Option<(String, String)>,
}

/// Condition of an EventSource whose events come to a topic of others.
pub const TOPIC_CONFLICT: &str = "TopicConflict";

/// One event as it is specified.
#[derive(Clone, Copy, Debug)]
pub enum Spec<'a> {
    /// Records of a topic of Kafka.
    Kafka(&'a Kafka),
    /// Moments of a schedule.
    Cron(&'a Cron),
    /// Messages of a topic of MQTT.
    Mqtt(&'a Mqtt),
    /// Entries of a stream or list of Redis.
    Redis(&'a Redis),
    /// Requests.
    Webhook(&'a Webhook),
    /// Requests of GitHub.
    GitHub(&'a Webhook),
    /// Requests of GitLab.
    GitLab(&'a Webhook),
    /// Notifications of a store of objects.
    S3(&'a Webhook),
}

/// The events of an EventSource: kind, name, and what is said of each.
fn entries(spec: &EventSourceSpec) -> Vec<(&'static str, &str, Spec<'_>)> {
    let EventSourceSpec { kafka, cron, mqtt, redis, webhook, github, gitlab, s3, .. } = spec;
    let mut entries = Vec::new();
    entries.extend(kafka.iter().map(|(event, of)| ("kafka", event.as_str(), Spec::Kafka(of))));
    entries.extend(cron.iter().map(|(event, of)| ("cron", event.as_str(), Spec::Cron(of))));
    entries.extend(mqtt.iter().map(|(event, of)| ("mqtt", event.as_str(), Spec::Mqtt(of))));
    entries.extend(redis.iter().map(|(event, of)| ("redis", event.as_str(), Spec::Redis(of))));
    entries.extend(webhook.iter().map(|(event, of)| ("webhook", event.as_str(), Spec::Webhook(of))));
    entries.extend(github.iter().map(|(event, of)| ("github", event.as_str(), Spec::GitHub(of))));
    entries.extend(gitlab.iter().map(|(event, of)| ("gitlab", event.as_str(), Spec::GitLab(of))));
    entries.extend(s3.iter().map(|(event, of)| ("s3", event.as_str(), Spec::S3(of))));
    entries
}

/// Names of the events of an EventSource.
pub fn events(spec: &EventSourceSpec) -> BTreeSet<&str> {
    entries(spec).into_iter().map(|(_, event, _)| event).collect()
}

/// The topics of an EventSource.
pub fn topics(source: &EventSource) -> Vec<String> {
    let (namespace, name) = (source.namespace().unwrap_or_default(), source.name_any());
    events(&source.spec).into_iter().map(|event| names::topic(&namespace, &name, event)).collect()
}

/// What shall run for an EventSource.
pub fn plan(source: &EventSource, world: &World, settings: &Settings) -> Plan {
    let (namespace, name) = (source.namespace().unwrap_or_default(), source.name_any());
    let entries = entries(&source.spec);
    let mut plan = Plan::default();
    if entries.is_empty() {
        plan.problem = Some(Problem::configuration(
            "spec: Required value: name at least one event of kafka, cron, mqtt, redis, webhook, github, gitlab or s3",
        ));
        return plan;
    }
    if let Some((topic, other)) = &world.shared_topic {
        let message = format!(
            "topic {topic:?} is that of {other}, too: whoever reads it gets the events of both; rename one of them"
        );
        plan.notes.push(NewCondition::true_(TOPIC_CONFLICT, "SharedTopic", message));
    }
    if Program::of(source) == Ok(Program::Dapr) {
        plan.notes.extend(dapr::ignored(dapr::source::unused(&source.spec)));
    }
    let common = match Common::of(source, world, settings, &mut plan) {
        Ok(common) => Ok(common),
        Err(problem) => {
            plan.problem = Some(problem.clone());
            Err(())
        }
    };
    for (kind, event, spec) in entries {
        let function = names::source_handler(&name, kind, event);
        let made = common.as_ref().map_err(|()| None).and_then(|common| {
            common.handler(function.clone(), (&namespace, &name), (kind, event, spec)).map_err(Some)
        });
        match made {
            Ok(handler) => plan.handlers.push(handler),
            Err(problem) => {
                // What runs goes on as it was.
                plan.kept.insert(function);
                // What is wrong is told before what cannot be done here.
                plan.problem = match (plan.problem, problem) {
                    (Some(told), Some(new)) if told.is_unsupported() && !new.is_unsupported() => Some(new),
                    (told, new) => told.or(new),
                };
            }
        }
    }
    plan
}

/// Checks what the schema does not say of an EventSource.
pub fn check(source: &EventSource) -> Option<Problem> {
    let bus = source.spec.event_bus.as_deref().filter(|name| !name.is_empty());
    let world = World {
        bus: bus.map(|name| Ok(any_bus(name))),
        sink: any_sink(source.spec.sink.is_some()),
        dead_letter_sink: any_sink(source.spec.dead_letter_sink.is_some()),
        shared_topic: None,
    };
    plan(source, &world, &Settings::default()).problem
}

/// What the handlers of an EventSource have in common.
struct Common<'a> {
    program: Program,
    settings: &'a Settings,
    spec: &'a EventSourceSpec,
    bus: Option<&'a Found>,
    sink: Option<String>,
    dead_letter_sink: Option<String>,
    dead_letter_topic: Option<String>,
}

impl<'a> Common<'a> {
    fn of(source: &'a EventSource, world: &'a World, settings: &'a Settings, plan: &mut Plan) -> Result<Self, Problem> {
        let program = Program::of(source)?;
        if world.bus.is_none() && world.sink.is_none() {
            return Err(Problem::configuration("spec: Required value: at least one of eventBus and sink must be set"));
        }
        let bus = world.bus.as_ref().map(|bus| bus.as_ref().map_err(Clone::clone)).transpose()?;
        let dead_letter_topic = checked_topic(source.spec.dead_letter_topic.as_ref(), "spec.deadLetterTopic")?;
        if dead_letter_topic.is_some() && bus.is_none() {
            return Err(Problem::configuration("spec.deadLetterTopic: Invalid value: there is no eventBus"));
        }
        Ok(Self {
            program,
            settings,
            spec: &source.spec,
            bus,
            sink: plan.url(&world.sink)?,
            // Handlers of Dapr do not use it.
            dead_letter_sink: match program {
                Program::Native => plan.url(&world.dead_letter_sink)?,
                Program::Dapr => None,
            },
            dead_letter_topic,
        })
    }

    fn handler(
        &self,
        function: String,
        (namespace, source): (&str, &str),
        (kind, event, spec): (&'static str, &str, Spec),
    ) -> Result<Handler, Problem> {
        let path = format!("spec.{kind}[{event}]");
        if !is_event_name(event) {
            return Err(Problem::configuration(format!(
                "{path}: Invalid value: {event:?}: an event's name has at most 63 letters, digits, '-', '_' and '.', and begins and ends with a letter or digit"
            )));
        }
        let group = names::source_group(namespace, source, kind, event);
        let mut secrets = Secrets::default();
        let bus = self.bus.map(|bus| bus.config(&mut secrets)).transpose()?;
        let (from, scale) = from(spec, event, &group, &path, &mut secrets)?;
        let hook = from.webhook().is_some();
        let reading = self.bus.map(Found::reading).unwrap_or_default();
        let config = Config {
            name: format!("{namespace}-{source}"),
            source: format!("/apis/events.openfunction.io/v1alpha1/namespaces/{namespace}/eventsources/{source}"),
            sink: self.sink.clone(),
            dead_letter_sink: self.dead_letter_sink.clone(),
            dead_letter_topic: self.dead_letter_topic.clone(),
            delivery: handler::policy(self.spec.delivery.as_ref()),
            webhook_address: ([0_u16; 8], u16::try_from(WEBHOOK_PORT).unwrap_or_default()).into(),
            in_flight: reading.in_flight.unwrap_or(in_flight()),
            redelivery: redelivery(),
            from_the_beginning: false,
            events: [(
                event.to_owned(),
                EventConfig { topic: bus.is_some().then(|| names::topic(namespace, source, event)), from },
            )]
            .into(),
            bus,
        };
        config.check().map_err(|invalid| {
            // The field of the file; those behind the kind have the same words here.
            let field = invalid.field.rsplit_once("from.").map_or("", |(_, field)| field);
            let field = field.split_once('.').map_or(field, |(_, field)| field);
            let dot = if field.is_empty() { "" } else { "." };
            Problem::configuration(format!("{path}{dot}{field}: {}", invalid.reason))
        })?;
        if self.program == Program::Dapr {
            let event = dapr::source::Event {
                source: (namespace, source),
                spec: self.spec,
                event: (kind, event),
                bus: self.bus,
                sink: self.sink.as_deref(),
            };
            let serving = dapr::source::serving(&event, spec, self.settings)?;
            return Ok(Handler { name: function, image: self.settings.dapr_source_image.clone(), serving });
        }
        let visibility = match spec {
            Spec::Webhook(hook) | Spec::GitHub(hook) | Spec::GitLab(hook) | Spec::S3(hook) => hook.visibility.clone(),
            _ => None,
        };
        let native = Native {
            config: handler::config(&config)?,
            port: if hook { WEBHOOK_PORT } else { METRICS_PORT },
            visibility: visibility.unwrap_or_else(|| if hook { "Internal" } else { "None" }.to_owned()),
            secrets,
            scale,
            log_filter: handler::log_filter(self.spec.log_level.as_deref()),
            otlp_endpoint: self.settings.otlp_endpoint.clone(),
        };
        Ok(Handler { name: function, image: self.settings.source_image.clone(), serving: native.serving() })
    }
}

/// Whether every bus takes it as a part of a topic.
pub fn is_event_name(name: &str) -> bool {
    let is_plain = |character: char| character.is_ascii_alphanumeric();
    name.len() <= 63
        && name.chars().all(|character| is_plain(character) || matches!(character, '-' | '_' | '.'))
        && name.starts_with(is_plain)
        && name.ends_with(is_plain)
}

/// Where a handler takes the events of an entry from, and how many handlers there are.
fn from(
    spec: Spec,
    event: &str,
    group: &str,
    path: &str,
    secrets: &mut Secrets,
) -> Result<(From, ScaleOptions), Problem> {
    Ok(match spec {
        Spec::Kafka(kafka) => return from_kafka(kafka, group, path, secrets),
        Spec::Cron(cron) => {
            let seconds = cron.starting_deadline_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            let from = From::Cron(config::Cron {
                schedule: cron.schedule.clone(),
                time_zone: cron.time_zone.clone().filter(|zone| !zone.is_empty()),
                starting_deadline: Duration::from_secs(seconds.unwrap_or_default()),
            });
            (from, scale::one())
        }
        Spec::Mqtt(mqtt) => (from_mqtt(mqtt, group, path, secrets)?, scale::one()),
        Spec::Redis(redis) => (from_redis(redis, event, group, path, secrets)?, scale::one()),
        Spec::Webhook(hook) => (From::Webhook(webhook(hook, secrets)), scale::one()),
        Spec::GitHub(hook) => (From::GitHub(webhook(hook, secrets)), scale::one()),
        Spec::GitLab(hook) => (From::GitLab(webhook(hook, secrets)), scale::one()),
        Spec::S3(hook) => (From::S3(webhook(hook, secrets)), scale::one()),
    })
}

fn webhook(hook: &Webhook, secrets: &mut Secrets) -> config::Webhook {
    config::Webhook { path: hook.path.clone(), secret: secrets.content(hook.secret_ref.as_ref(), None) }
}

/// The topics of Kafka that an event comes from.
pub fn kafka_topics(kafka: &Kafka) -> Vec<String> {
    let topics = kafka.topic.iter().flat_map(|topics| topics.split(','));
    topics.map(str::trim).filter(|topic| !topic.is_empty()).map(str::to_owned).collect()
}

fn from_kafka(kafka: &Kafka, group: &str, path: &str, secrets: &mut Secrets) -> Result<(From, ScaleOptions), Problem> {
    let topics = kafka_topics(kafka);
    if topics.is_empty() {
        return Err(Problem::configuration(format!("{path}.topic: Required value: a topic to read")));
    }
    let files = secrets.tls(kafka.tls.as_ref());
    let password = secrets.content(kafka.sasl_password_secret_ref.as_ref(), kafka.sasl_password.as_ref());
    let user = kafka.sasl_username.clone().filter(|name| !name.is_empty());
    let (user, password) = match (kafka.auth_required, user, password) {
        // As before: what is said of a user counts only where one is asked for.
        (false, ..) => (None, None),
        (true, Some(user), Some(password)) => (Some(user), Some(password)),
        (true, None, _) => {
            return Err(Problem::configuration(format!("{path}.saslUsername: Required value: authRequired is true")));
        }
        (true, _, None) => {
            let message = format!("{path}.saslPasswordSecretRef: Required value: authRequired is true");
            return Err(Problem::configuration(message));
        }
    };
    let mechanism = mechanism(kafka.sasl_mechanism.as_deref());
    let sasl = user.is_some().then(|| scale::sasl(mechanism));
    let tls = kafka.tls().is_some();
    let reader = KafkaReader { brokers: &kafka.brokers, topics: &topics, group: Group::OfEach(group), sasl, tls };
    let scale = match &kafka.scale_option {
        Some(option) => scale::by_kafka(option, &reader, &format!("{path}.scaleOption"), None)?,
        None => scale::one(),
    };
    let server = event_bus::kafka::Config {
        brokers: kafka.brokers.clone(),
        sasl_username: user,
        sasl_password: password,
        sasl_mechanism: mechanism,
        tls,
        ca: files.ca.map(|path| event_bus::files::Content::File(path.into())),
        certificate: files.certificate.map(Into::into),
        key: files.key.map(Into::into),
    };
    Ok((From::Kafka(config::Kafka { server, topics, group: group.to_owned() }), scale))
}

fn from_mqtt(mqtt: &Mqtt, group: &str, path: &str, secrets: &mut Secrets) -> Result<From, Problem> {
    let files = secrets.tls(mqtt.tls.as_ref());
    let file = |path: String| event_bus::files::Content::File(path.into());
    let plain = |secrets: &mut Secrets, value: &Option<String>| secrets.content(None, value.as_ref());
    let retained =
        match mqtt.qos {
            None => None,
            Some(qos) => Some(u8::try_from(qos).ok().filter(|qos| *qos <= 2).ok_or_else(|| {
                Problem::configuration(format!("{path}.qos: Invalid value: {qos}: must be 0, 1 or 2"))
            })?),
        };
    Ok(From::Mqtt(config::Mqtt {
        url: mqtt.url.clone(),
        topic: mqtt.topic.clone(),
        // BUG-E06: one that is given counts.
        tls: mqtt.tls.is_some(),
        client_id: mqtt.consumer_id.clone().filter(|id| !id.is_empty()).unwrap_or_else(|| group.to_owned()),
        version: if mqtt.version.as_deref() == Some("5") { MqttVersion::V5 } else { MqttVersion::V3 },
        qos: retained.unwrap_or(1),
        retain: mqtt.retain.unwrap_or_default(),
        clean_session: mqtt.clean_session.unwrap_or_default(),
        username: mqtt.username.clone(),
        password: secrets.content(mqtt.password_secret_ref.as_ref(), None),
        ca: files.ca.map(file).or_else(|| plain(secrets, &mqtt.ca_cert)),
        certificate: files.certificate.map(file).or_else(|| plain(secrets, &mqtt.client_cert)),
        key: files.key.map(file).or_else(|| plain(secrets, &mqtt.client_key)),
    }))
}

fn from_redis(redis: &Redis, event: &str, group: &str, path: &str, secrets: &mut Secrets) -> Result<From, Problem> {
    if redis.failover == Some(true) || redis.redis_type.as_deref().is_some_and(|type_| type_ == "cluster") {
        let field = if redis.failover == Some(true) { "failover" } else { "redisType" };
        return Err(Problem::unsupported(format!(
            "{path}.{field}: Invalid value: neither Sentinel nor a cluster of Redis is supported; name one server"
        )));
    }
    let files = secrets.tls(redis.tls.as_ref());
    let file = |path: String| event_bus::files::Content::File(path.into());
    let scheme = if redis.enable_tls == Some(true) { "rediss" } else { "redis" };
    let server = event_bus::redis::Config {
        url: format!("{scheme}://{}/{}", redis.redis_host, redis.redis_db.unwrap_or_default()),
        username: None,
        password: secrets.content(redis.redis_password_secret_ref.as_ref(), Some(&redis.redis_password)),
        ca: files.ca.map(file),
        certificate: files.certificate.map(file),
        key: files.key.map(file),
    };
    let key = |key: &str| RedisKey { server: server.clone(), key: key.to_owned(), group: group.to_owned() };
    Ok(match (&redis.list, &redis.stream) {
        (Some(list), _) => From::RedisList(key(list)),
        (None, stream) => From::RedisStream(key(stream.as_deref().unwrap_or(event))),
    })
}

/// What a Redis source says and what means nothing to its handler, which is no component of Dapr any more.
pub fn unused_of_redis(redis: &Redis) -> Vec<&'static str> {
    let Redis {
        redis_host: _,
        redis_password: _,
        redis_password_secret_ref: _,
        stream: _,
        list: _,
        enable_tls: _,
        tls: _,
        failover: _,
        sentinel_master_name,
        redeliver_interval,
        processing_timeout,
        redis_type: _,
        redis_db: _,
        redis_max_retries,
        redis_min_retry_interval,
        redis_max_retry_interval,
        dial_timeout,
        read_timeout,
        write_timeout,
        pool_size,
        pool_timeout,
        max_conn_age,
        min_idle_conns,
        idle_check_frequency,
        idle_timeout,
    } = redis;
    let text = |field: &Option<String>| field.is_some();
    let number = |field: &Option<i64>| field.is_some();
    [
        ("sentinelMasterName", text(sentinel_master_name)),
        ("redeliverInterval", text(redeliver_interval)),
        ("processingTimeout", text(processing_timeout)),
        ("redisMaxRetries", number(redis_max_retries)),
        ("redisMinRetryInterval", text(redis_min_retry_interval)),
        ("redisMaxRetryInterval", text(redis_max_retry_interval)),
        ("dialTimeout", text(dial_timeout)),
        ("readTimeout", text(read_timeout)),
        ("writeTimeout", text(write_timeout)),
        ("poolSize", number(pool_size)),
        ("poolTimeout", text(pool_timeout)),
        ("maxConnAge", text(max_conn_age)),
        ("minIdleConns", number(min_idle_conns)),
        ("idleCheckFrequency", text(idle_check_frequency)),
        ("idleTimeout", text(idle_timeout)),
    ]
    .into_iter()
    .filter_map(|(field, is_set)| is_set.then_some(field))
    .collect()
}
