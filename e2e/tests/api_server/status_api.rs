//! The gRPC status API with real tokens.

use controller_runtime::{
    certificates::Lifetimes,
    status_api::{AUDIENCE, Explained, StatusApi},
    tls,
    watch::Shared,
    webhook::Webhooks,
};
use futures::StreamExt;
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    runtime::watcher,
};
use openfunction_proto::{
    core::Function,
    status_api::{
        Controller, GetControllerRequest, GetObjectRequest, ObjectRef, WatchObjectsRequest, object_event::Type,
        status_client::StatusClient,
    },
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status,
    transport::{Certificate, Channel, ClientTlsConfig},
};

use crate::{
    conversion::serve,
    support::{eventually, server},
};

/// A token of the service account `reader`, for an audience.
async fn token(client: &Client, namespace: &str, audience: &str) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let spec = TokenRequestSpec { audiences: vec![audience.to_owned()], ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    accounts.create_token_request("reader", &PostParams::default(), &request).await.unwrap().status.unwrap().token
}

fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// A connection to the status API that trusts `bundle`.
async fn connect(port: u16, bundle: &str) -> Result<Channel, tonic::transport::Error> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(bundle)).domain_name("localhost");
    Channel::from_shared(format!("https://localhost:{port}")).unwrap().tls_config(tls)?.connect().await
}

fn get(namespace: &str, name: &str) -> GetObjectRequest {
    let object = ObjectRef {
        kind: "Function".to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..ObjectRef::default()
    };
    GetObjectRequest { object: Some(object) }
}

fn code<T>(answer: Result<T, Status>) -> Code {
    answer.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_known_by_token_and_allowed_by_role() {
    let (_, client, namespace) = server().await;
    let functions: Api<Function> = Api::namespaced(client.clone(), &namespace);
    let function = |name: &str| -> Function {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"image": "a", "serving": {}}})).unwrap()
    };
    functions.create(&PostParams::default(), &function("hello")).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
    accounts
        .create(&PostParams::default(), &serde_json::from_value(json!({"metadata": {"name": "reader"}})).unwrap())
        .await
        .unwrap();

    let shared = Shared::<Function>::new(None);
    let following = {
        let (shared, client, namespaces) = (shared.clone(), client.clone(), [namespace.clone()]);
        tokio::spawn(async move { shared.follow(&client, &namespaces, watcher::Config::default(), |_| {}).await })
    };
    shared.synced().await;
    // Certificates come from the same place as those of webhooks.
    let served = serve(&client, "status-test-controller", Webhooks::new(), Lifetimes::default()).await;
    let describe = || Controller { name: "status-test-controller".to_owned(), ..Controller::default() };
    let api =
        StatusApi::new(client.clone(), vec![Box::new(Explained::new(shared.clone(), e2e::sample::explain))], describe);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(tls::serve(
        listener,
        tls::server_config(served.certificates.serving(), None).unwrap(),
        api.router().await,
        stop.clone(),
    ));
    let bundle = served.certificates.bundle().borrow().clone().unwrap();
    let channel = connect(port, &bundle).await.unwrap();
    let mut status = StatusClient::new(channel);

    assert_eq!(code(status.get_controller(GetControllerRequest {}).await), Code::Unauthenticated, "no token");
    assert_eq!(code(status.get_controller(with("nonsense", GetControllerRequest {})).await), Code::Unauthenticated);
    let other = token(&client, &namespace, "somebody-else").await;
    assert_eq!(
        code(status.get_controller(with(&other, GetControllerRequest {})).await),
        Code::Unauthenticated,
        "another audience"
    );
    let token = token(&client, &namespace, AUDIENCE).await;
    let controller = status.get_controller(with(&token, GetControllerRequest {})).await.unwrap().into_inner();
    assert_eq!(controller.name, "status-test-controller");

    let refused = status.get_object(with(&token, get(&namespace, "hello"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("may not get functions.core.openfunction.io"), "{}", refused.message());
    let roles: Api<Role> = Api::namespaced(client.clone(), &namespace);
    roles
        .create(
            &PostParams::default(),
            &serde_json::from_value(json!({"metadata": {"name": "reader"},
        "rules": [{"apiGroups": ["core.openfunction.io"], "resources": ["functions"], "verbs": ["get", "watch"]}]}))
            .unwrap(),
        )
        .await
        .unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), &namespace);
    bindings
        .create(
            &PostParams::default(),
            &serde_json::from_value(json!({"metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}]}))
            .unwrap(),
        )
        .await
        .unwrap();
    eventually("the permission", || async {
        status.clone().get_object(with(&token, get(&namespace, "hello"))).await.ok()
    })
    .await;
    assert_eq!(code(status.get_object(with(&token, get(&namespace, "absent"))).await), Code::NotFound);
    let mut wrong = get(&namespace, "hello");
    wrong.object.as_mut().unwrap().kind = "Pod".to_owned();
    assert_eq!(code(status.get_object(with(&token, wrong)).await), Code::InvalidArgument);

    let watch = |namespace: &str| WatchObjectsRequest {
        kind: "Function".to_owned(),
        namespace: namespace.to_owned(),
        name: String::new(),
    };
    assert_eq!(code(status.watch_objects(with(&token, watch(""))).await), Code::PermissionDenied, "every namespace");
    let mut events = status.watch_objects(with(&token, watch(&namespace))).await.unwrap().into_inner();
    let mut next = async || {
        let event = events.next().await.unwrap().unwrap();
        (event.r#type(), event.object.and_then(|o| o.object).map(|o| o.name))
    };
    assert_eq!(next().await, (Type::Applied, Some("hello".to_owned())));
    assert_eq!(next().await, (Type::Synced, None));
    functions.patch("hello", &PatchParams::default(), &Patch::Merge(json!({"spec": {"version": "v2"}}))).await.unwrap();
    assert_eq!(next().await, (Type::Applied, Some("hello".to_owned())));
    functions.delete("hello", &Default::default()).await.unwrap();
    assert_eq!(next().await, (Type::Deleted, Some("hello".to_owned())));
    following.abort();
    stop.cancel();
    drop((status, events));
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls_refuses_callers_without_a_certificate() {
    let (_, client, _) = server().await;
    let served = serve(&client, "mutual-tls-controller", Webhooks::new(), Lifetimes::default()).await;
    let bundle = served.certificates.bundle().borrow().clone().unwrap();
    let api = StatusApi::new(client.clone(), vec![], Controller::default);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = tls::server_config(served.certificates.serving(), Some(bundle.as_bytes())).unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(tls::serve(listener, config, api.router().await, stop.clone()));
    let answer = match connect(port, &bundle).await {
        Ok(channel) => StatusClient::new(channel)
            .get_controller(GetControllerRequest {})
            .await
            .map(drop)
            .map_err(|status| status.code()),
        Err(_) => Err(Code::Unavailable),
    };
    assert!(matches!(answer, Err(Code::Unavailable | Code::Unknown | Code::Cancelled)), "{answer:?}");
    stop.cancel();
}
