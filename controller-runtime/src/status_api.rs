//! The gRPC status API (design §6): read-only, over TLS, for callers that show a Kubernetes token.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{Request as HttpRequest, State},
    middleware::Next,
    response::Response as HttpResponse,
};
use futures::{Stream, StreamExt, stream::BoxStream};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use kube::{Api, Client, Resource, ResourceExt, api::PostParams, runtime::reflector};
use openfunction_proto::{
    core,
    status_api::{
        Blocker, Condition, Controller, DESCRIPTOR, GetControllerRequest, GetObjectRequest, ObjectEvent, ObjectRef,
        ObjectStatus, WatchObjectsRequest, object_event,
        status_server::{self, StatusServer},
    },
    timestamp,
};
use tokio::{sync::Semaphore, time::Instant};
use tonic::{Request, Response, Status, service::Routes};

use crate::{
    names::hash_hex,
    watch::{Shared, Watched},
};

/// Audience that a caller's token must have.
pub const AUDIENCE: &str = "openfunction-status";

/// How long an answer about a token is used again.
const TOKEN_TTL: Duration = Duration::from_secs(30);

/// How long a refusal of a token is used again.
const REFUSAL_TTL: Duration = Duration::from_secs(10);

/// Tokens of which an answer is kept at most.
const TOKENS: usize = 1024;

/// Questions to the API server about callers at one time.
const REVIEWS: usize = 8;

/// Longest life of a stream; the caller then asks again.
const STREAM: Duration = Duration::from_secs(600);

/// Explains the objects of one kind.
pub trait Explain: Send + Sync + 'static {
    /// Kind, for example `Function`.
    fn kind(&self) -> &str;
    /// Group and plural, as RBAC words them.
    fn resource(&self) -> (&str, &str);
    /// Whether all objects are known already.
    fn is_synced(&self) -> bool;
    /// The present state of an object.
    fn object(&self, namespace: &str, name: &str) -> Option<ObjectStatus>;
    /// The present state of every object, then `SYNCED`, then each change.
    fn watch(&self, namespace: String, name: String) -> BoxStream<'static, ObjectEvent>;
}

/// Explains the objects of a shared watch by a pure function.
pub struct Explained<K: Watched> {
    shared: Shared<K>,
    explain: fn(&K) -> ObjectStatus,
    kind: String,
    resource: (String, String),
}

impl<K: Watched> Explained<K> {
    /// Explains with `explain` what `shared` holds.
    pub fn new(shared: Shared<K>, explain: fn(&K) -> ObjectStatus) -> Self {
        let resource = (K::group(&()).into_owned(), K::plural(&()).into_owned());
        Self { shared, explain, kind: K::kind(&()).into_owned(), resource }
    }
}

impl<K: Watched> Explain for Explained<K> {
    fn kind(&self) -> &str {
        &self.kind
    }

    fn resource(&self) -> (&str, &str) {
        (&self.resource.0, &self.resource.1)
    }

    fn is_synced(&self) -> bool {
        self.shared.is_synced()
    }

    fn object(&self, namespace: &str, name: &str) -> Option<ObjectStatus> {
        self.shared
            .store()
            .get(&reflector::ObjectRef::new(name).within(namespace))
            .map(|object| (self.explain)(&object))
    }

    fn watch(&self, namespace: String, name: String) -> BoxStream<'static, ObjectEvent> {
        let (shared, explain) = (self.shared.clone(), self.explain);
        let is_asked = move |object: &K| {
            (namespace.is_empty() || object.namespace().as_deref() == Some(&*namespace))
                && (name.is_empty() || object.name_any() == name)
        };
        let changes = self.shared.subscribe();
        let existing = changes.seeded();
        let event = move |object: Arc<K>| {
            let exists = shared.store().get(&reflector::ObjectRef::from_obj(&*object)).is_some();
            let type_ = if exists { object_event::Type::Applied } else { object_event::Type::Deleted };
            ObjectEvent { r#type: type_.into(), object: Some(explain(&object)) }
        };
        let synced = ObjectEvent { r#type: object_event::Type::Synced.into(), object: None };
        let marked = changes.enumerate().flat_map(move |(index, object)| {
            let mark = (index + 1 == existing).then(|| synced.clone());
            let seen = is_asked(&object).then(|| event(object));
            futures::stream::iter(seen.into_iter().chain(mark))
        });
        let empty = (existing == 0).then(|| ObjectEvent { r#type: object_event::Type::Synced.into(), object: None });
        futures::stream::iter(empty).chain(marked).boxed()
    }
}

/// What every kind has to say: the object, and its conditions.
pub fn object_status<K: Resource<DynamicType = ()>>(
    object: &K,
    observed_generation: Option<i64>,
    conditions: &[meta::Condition],
) -> ObjectStatus {
    ObjectStatus {
        object: Some(ObjectRef {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        }),
        uid: object.uid().unwrap_or_default(),
        generation: object.meta().generation.unwrap_or_default(),
        observed_generation: observed_generation.unwrap_or_default(),
        conditions: conditions.iter().map(condition).collect(),
        ..ObjectStatus::default()
    }
}

fn condition(condition: &meta::Condition) -> Condition {
    Condition {
        r#type: condition.type_.clone(),
        status: condition.status.clone(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        observed_generation: condition.observed_generation.unwrap_or_default(),
        last_transition_time: Some(timestamp(condition.last_transition_time.0)),
    }
}

/// A blocker of a status, as the API tells it.
pub fn blocker(blocker: &core::Blocker) -> Blocker {
    Blocker {
        object: Some(ObjectRef {
            api_version: String::new(),
            kind: blocker.kind.clone(),
            namespace: blocker.namespace.clone().unwrap_or_default(),
            name: blocker.name.clone(),
        }),
        field: blocker.field.clone().unwrap_or_default(),
        reason: blocker.reason.clone(),
        message: blocker.message.clone(),
        hint: blocker.hint.clone().unwrap_or_default(),
        since: blocker.since.as_ref().map(|since| timestamp(since.0)),
    }
}

/// The status API of one controller.
#[derive(Clone)]
pub struct StatusApi {
    reviewer: Arc<Reviewer>,
    kinds: Arc<Vec<Box<dyn Explain>>>,
    describe: Arc<dyn Fn() -> Controller + Send + Sync>,
}

impl StatusApi {
    /// An API that explains these kinds; `describe` tells of the process.
    pub fn new(
        client: Client,
        kinds: Vec<Box<dyn Explain>>,
        describe: impl Fn() -> Controller + Send + Sync + 'static,
    ) -> Self {
        Self { reviewer: Arc::new(Reviewer::new(client)), kinds: Arc::new(kinds), describe: Arc::new(describe) }
    }

    /// The HTTP routes: the API, gRPC health and reflection. Health and reflection need no token.
    ///
    /// # Panics
    /// Never: the descriptor was made by the build.
    pub async fn router(self) -> Router {
        let (health_reporter, health) = tonic_health::server::health_reporter();
        health_reporter.set_serving::<StatusServer<Self>>().await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR)
            .build_v1()
            .expect("the descriptor was made by the build");
        let reviewer = self.reviewer.clone();
        Routes::new(health)
            .add_service(reflection)
            .add_service(StatusServer::new(self))
            .into_axum_router()
            .layer(axum::middleware::from_fn_with_state(reviewer, authenticate))
    }

    fn explain(&self, kind: &str) -> Result<&dyn Explain, Status> {
        let known = || self.kinds.iter().map(|explain| explain.kind()).collect::<Vec<_>>().join(", ");
        match self.kinds.iter().find(|explain| explain.kind() == kind) {
            None => Err(Status::invalid_argument(format!("kind {kind:?} is not explained here, only: {}", known()))),
            Some(explain) if !explain.is_synced() => {
                Err(Status::unavailable("the objects are not known yet, try again"))
            }
            Some(explain) => Ok(&**explain),
        }
    }

    async fn authorize<T>(
        &self,
        request: &Request<T>,
        verb: &str,
        explain: &dyn Explain,
        namespace: &str,
        name: &str,
    ) -> Result<(), Status> {
        let user = request.extensions().get::<Arc<UserInfo>>().ok_or_else(|| Status::unauthenticated("no token"))?;
        let (group, plural) = explain.resource();
        self.reviewer.may(user, verb, group, plural, namespace, name).await
    }
}

#[tonic::async_trait]
impl status_server::Status for StatusApi {
    async fn get_controller(&self, _: Request<GetControllerRequest>) -> Result<Response<Controller>, Status> {
        Ok(Response::new((self.describe)()))
    }

    async fn get_object(&self, request: Request<GetObjectRequest>) -> Result<Response<ObjectStatus>, Status> {
        let object = request.get_ref().object.clone().ok_or_else(|| Status::invalid_argument("object must be set"))?;
        let explain = self.explain(&object.kind)?;
        self.authorize(&request, "get", explain, &object.namespace, &object.name).await?;
        let found = explain.object(&object.namespace, &object.name);
        found
            .map(Response::new)
            .ok_or_else(|| Status::not_found(format!("{} {:?} does not exist", object.kind, object.name)))
    }

    type WatchObjectsStream = Pin<Box<dyn Stream<Item = Result<ObjectEvent, Status>> + Send>>;

    async fn watch_objects(
        &self,
        request: Request<WatchObjectsRequest>,
    ) -> Result<Response<Self::WatchObjectsStream>, Status> {
        let explain = self.explain(&request.get_ref().kind)?;
        self.authorize(&request, "watch", explain, &request.get_ref().namespace, &request.get_ref().name).await?;
        let WatchObjectsRequest { namespace, name, .. } = request.into_inner();
        // A caller that lost its permission must not watch for ever.
        let events = explain.watch(namespace, name).take_until(tokio::time::sleep(STREAM)).map(Ok);
        Ok(Response::new(events.boxed()))
    }
}

/// Lets a request through if its token is good; health and reflection need none.
async fn authenticate(State(reviewer): State<Arc<Reviewer>>, mut request: HttpRequest, next: Next) -> HttpResponse {
    let path = request.uri().path();
    if path.starts_with("/grpc.health.") || path.starts_with("/grpc.reflection.") {
        return next.run(request).await;
    }
    let token = request
        .headers()
        .get(http::header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let user = match token {
        Some(token) => reviewer.who(token).await,
        None => Err(Status::unauthenticated(
            "a Kubernetes token with audience openfunction-status must be sent as `authorization: Bearer …`",
        )),
    };
    match user {
        Ok(user) => {
            request.extensions_mut().insert(user);
            next.run(request).await
        }
        Err(status) => status.into_http(),
    }
}

/// Asks the API server who a caller is and what it may.
struct Reviewer {
    client: Client,
    reviews: Semaphore,
    /// Users by the hash of their token; `None` for a token that was refused.
    known: Mutex<HashMap<String, Answer>>,
}

/// Who a token belongs to, and when that was found out.
type Answer = (Option<Arc<UserInfo>>, Instant);

impl Reviewer {
    fn new(client: Client) -> Self {
        Self { client, reviews: Semaphore::new(REVIEWS), known: Mutex::default() }
    }

    async fn who(&self, token: &str) -> Result<Arc<UserInfo>, Status> {
        let key = hash_hex(&token);
        let user = match self.remembered(&key) {
            Some(user) => user,
            None => {
                let _one_of_few = self.reviews.acquire().await;
                let user = self.review(token).await?;
                self.remember(key, user.clone());
                user
            }
        };
        user.ok_or_else(|| Status::unauthenticated("the token is not valid for audience openfunction-status"))
    }

    fn remembered(&self, key: &str) -> Option<Option<Arc<UserInfo>>> {
        self.known().get(key).filter(|answer| is_fresh(answer)).map(|(user, _)| user.clone())
    }

    fn remember(&self, key: String, user: Option<Arc<UserInfo>>) {
        let mut known = self.known();
        if known.len() >= TOKENS {
            known.retain(|_, answer| is_fresh(answer));
        }
        if known.len() < TOKENS {
            known.insert(key, (user, Instant::now()));
        }
    }

    async fn review(&self, token: &str) -> Result<Option<Arc<UserInfo>>, Status> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![AUDIENCE.to_owned()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await.map_err(unavailable)?;
        let status = answer.status.unwrap_or_default();
        let has_audience = status.audiences.iter().flatten().any(|audience| audience == AUDIENCE);
        Ok(status.user.filter(|_| status.authenticated == Some(true) && has_audience).map(Arc::new))
    }

    async fn may(
        &self,
        user: &UserInfo,
        verb: &str,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<(), Status> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let spec = SubjectAccessReviewSpec {
            user: user.username.clone(),
            groups: user.groups.clone(),
            uid: user.uid.clone(),
            extra: user.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                verb: some(verb),
                group: some(group),
                resource: some(plural),
                namespace: some(namespace),
                name: some(name),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let answer = Api::<SubjectAccessReview>::all(self.client.clone())
            .create(&PostParams::default(), &review)
            .await
            .map_err(unavailable)?;
        if answer.status.is_some_and(|status| status.allowed) {
            return Ok(());
        }
        let user = user.username.as_deref().unwrap_or_default();
        let place =
            if namespace.is_empty() { "every namespace".to_owned() } else { format!("namespace {namespace:?}") };
        Err(Status::permission_denied(format!("{user:?} may not {verb} {plural}.{group} in {place}")))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Answer>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_fresh((user, seen): &Answer) -> bool {
    seen.elapsed() < if user.is_some() { TOKEN_TTL } else { REFUSAL_TTL }
}

fn unavailable(error: kube::Error) -> Status {
    Status::unavailable(format!("the API server cannot be asked about the caller: {}", crate::client::describe(&error)))
}
