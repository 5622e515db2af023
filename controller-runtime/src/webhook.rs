//! Admission and conversion webhooks.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::HeaderMap,
    routing::post,
};
use k8s_openapi::{
    ByteString,
    api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
    core::{
        ClusterResourceScope, DynamicObject, Status,
        admission::{AdmissionRequest, AdmissionResponse, AdmissionReview},
        conversion::{ConversionRequest, ConversionResponse, ConversionReview},
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tower::limit::GlobalConcurrencyLimitLayer;
use tracing::{Instrument, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{client::get_part, telemetry::context_of};

/// Largest conversion: the API server converts a page of a list in one request.
const MAX_CONVERSION: usize = 64 << 20;

/// Largest admission request: an object of 1.5 MiB and what it was before.
const MAX_ADMISSION: usize = 8 << 20;

/// Conversions at one time; more wait. A port that anybody in the cluster can reach must not fill the memory.
const CONVERSIONS: usize = 4;

/// Converts an object to an API version (`group/version`), or says why it cannot.
pub type Convert = Arc<dyn Fn(Value, &str) -> Result<Value, String> + Send + Sync>;

/// Judges an admission request.
pub type Admit = Arc<dyn Fn(&AdmissionRequest<DynamicObject>) -> Verdict + Send + Sync>;

/// What an admission webhook says.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The object as it shall be stored; `None` leaves it as it is.
    pub object: Option<Value>,
    /// Warnings that `kubectl` shows, each a sentence.
    pub warnings: Vec<String>,
    /// Why the request is refused; `None` allows it.
    pub denied: Option<String>,
}

/// The webhooks of a controller.
#[derive(Clone, Default)]
pub struct Webhooks {
    converters: BTreeMap<&'static str, Convert>,
    admissions: BTreeMap<&'static str, Admit>,
    targets: Vec<BundleTarget>,
}

/// An object that holds the bundle of authorities which callers of our webhooks trust.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BundleTarget {
    /// The conversion webhook of a CRD.
    Crd(String),
    /// Every webhook of a MutatingWebhookConfiguration.
    Mutating(String),
    /// Every webhook of a ValidatingWebhookConfiguration.
    Validating(String),
}

impl BundleTarget {
    /// Whether objects cannot be read without it. Admission is a matter of the installation.
    fn is_needed(&self) -> bool {
        matches!(self, Self::Crd(_))
    }
}

impl Webhooks {
    /// No webhooks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Converts a kind at `/convert`; its CRD gets the bundle.
    #[must_use]
    pub fn convert(mut self, kind: &'static str, crd: impl Into<String>, convert: Convert) -> Self {
        self.converters.insert(kind, convert);
        self.targets.push(BundleTarget::Crd(crd.into()));
        self
    }

    /// Judges admission requests at a path, for example `/mutate-core-openfunction-io-v1beta2-function`.
    #[must_use]
    pub fn admit(mut self, path: &'static str, target: BundleTarget, admit: Admit) -> Self {
        self.admissions.insert(path, admit);
        if !self.targets.contains(&target) {
            self.targets.push(target);
        }
        self
    }

    /// Objects that must hold the bundle.
    pub fn targets(&self) -> &[BundleTarget] {
        &self.targets
    }

    /// The CRDs of the kinds that are converted.
    pub fn converted(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().filter_map(|target| match target {
            BundleTarget::Crd(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The HTTP routes.
    pub fn router(&self) -> Router {
        let converters = Arc::new(self.converters.clone());
        let conversion = post(convert)
            .layer::<_, Infallible>(DefaultBodyLimit::max(MAX_CONVERSION))
            .layer::<_, Infallible>(GlobalConcurrencyLimitLayer::new(CONVERSIONS));
        let mut router = Router::new().route("/convert", conversion).with_state(converters);
        for (path, admit) in &self.admissions {
            let admission =
                post(judge).layer::<_, Infallible>(DefaultBodyLimit::max(MAX_ADMISSION)).with_state(admit.clone());
            router = router.route(path, admission);
        }
        router
    }
}

async fn convert(
    State(converters): State<Arc<BTreeMap<&'static str, Convert>>>,
    headers: HeaderMap,
    Json(review): Json<ConversionReview>,
) -> Json<ConversionReview> {
    let span = info_span!("convert");
    let _ = span.set_parent(context_of(&headers));
    async move {
        let mut request = match ConversionRequest::from_review(review) {
            Ok(request) => request,
            Err(error) => {
                return Json(
                    ConversionResponse::invalid(Status::failure(&error.to_string(), "InvalidRequest")).into_review(),
                );
            }
        };
        let objects = std::mem::take(&mut request.objects);
        let version = request.desired_api_version.clone();
        // A long list would block everything else of this thread.
        let converted = tokio::task::spawn_blocking(move || convert_all(&converters, objects, &version)).await;
        let converted = converted.unwrap_or_else(|_| Err("the conversion panicked".to_owned()));
        let response = ConversionResponse::for_request(request);
        Json(
            match converted {
                Ok(objects) => response.success(objects),
                Err(reason) => response.failure(Status::failure(&reason, "ConversionFailed")),
            }
            .into_review(),
        )
    }
    .instrument(span)
    .await
}

fn convert_all(
    converters: &BTreeMap<&'static str, Convert>,
    objects: Vec<Value>,
    version: &str,
) -> Result<Vec<Value>, String> {
    objects
        .into_iter()
        .map(|object| {
            let kind = object["kind"].as_str().unwrap_or_default().to_owned();
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let converter = converters.get(kind.as_str()).ok_or_else(|| format!("{kind:?} is not converted here"))?;
            converter(object, version)
                .map_err(|reason| format!("{kind} {name:?} cannot be converted to {version}: {reason}"))
        })
        .collect()
}

async fn judge(
    State(admit): State<Admit>,
    headers: HeaderMap,
    Json(review): Json<AdmissionReview<DynamicObject>>,
) -> Json<AdmissionReview<DynamicObject>> {
    let span = info_span!("admit");
    let _ = span.set_parent(context_of(&headers));
    let request: AdmissionRequest<DynamicObject> = match review.try_into() {
        Ok(request) => request,
        Err(error) => return Json(AdmissionResponse::invalid(error).into_review()),
    };
    let verdict = span.in_scope(|| admit(&request));
    let mut response = AdmissionResponse::from(&request);
    if let Some(reason) = verdict.denied {
        response = response.deny(reason);
    } else if let (Some(wanted), Some(object)) = (verdict.object, &request.object) {
        let is = serde_json::to_value(object).unwrap_or_default();
        let patch = json_patch::diff(&is, &wanted);
        if !patch.0.is_empty() {
            response = response.with_patch(patch).unwrap_or_else(AdmissionResponse::invalid);
        }
    }
    response.warnings = (!verdict.warnings.is_empty()).then_some(verdict.warnings);
    Json(response.into_review())
}

/// Brings the bundle to every target that does not hold it yet.
///
/// # Errors
/// The first target that could not be read or written, named. The others were still tried. A configuration of admission
/// that is not installed is none.
pub async fn publish(
    client: &Client,
    manager: &'static str,
    targets: &[BundleTarget],
    bundle: &str,
) -> anyhow::Result<()> {
    let mut result = Ok(());
    for target in targets {
        let failed = match publish_to(client, manager, target, bundle).await {
            Ok(()) => continue,
            Err(kube::Error::Api(status)) if status.is_not_found() && !target.is_needed() => {
                tracing::info!("{} does not exist: nobody asks its webhooks", describe(target));
                continue;
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                anyhow::anyhow!(
                    "{} does not exist: install the CRDs and the chart of this controller",
                    describe(target)
                )
            }
            Err(error) => anyhow::anyhow!(
                "{} did not get the certificate authority: {}",
                describe(target),
                crate::client::describe(&error)
            ),
        };
        result = result.and(Err(failed));
    }
    result
}

fn describe(target: &BundleTarget) -> String {
    match target {
        BundleTarget::Crd(name) => format!("CustomResourceDefinition {name:?}"),
        BundleTarget::Mutating(name) => format!("MutatingWebhookConfiguration {name:?}"),
        BundleTarget::Validating(name) => format!("ValidatingWebhookConfiguration {name:?}"),
    }
}

async fn publish_to(client: &Client, manager: &'static str, target: &BundleTarget, bundle: &str) -> kube::Result<()> {
    let bundle = ByteString(bundle.as_bytes().to_vec());
    match target {
        BundleTarget::Crd(name) => {
            let fields = |live: &Value| {
                let held = live.pointer("/spec/conversion/webhook/clientConfig/caBundle");
                let wanted = json!(bundle);
                (held != Some(&wanted)).then(|| {
                    json!({"spec": {"conversion": {"strategy": "Webhook", "webhook": {
                    "conversionReviewVersions": ["v1"], "clientConfig": {"caBundle": wanted}}}}})
                })
            };
            apply_fields::<CustomResourceDefinition>(client, manager, name, fields).await
        }
        BundleTarget::Mutating(name) => {
            apply_fields::<MutatingWebhookConfiguration>(client, manager, name, |live| webhooks(live, &bundle)).await
        }
        BundleTarget::Validating(name) => {
            apply_fields::<ValidatingWebhookConfiguration>(client, manager, name, |live| webhooks(live, &bundle)).await
        }
    }
}

/// The bundle for each webhook of a configuration, or `None` if all have it.
fn webhooks(live: &Value, bundle: &ByteString) -> Option<Value> {
    let live = live["webhooks"].as_array()?;
    let wanted = json!(bundle);
    if live.iter().all(|webhook| webhook["clientConfig"]["caBundle"] == wanted) {
        return None;
    }
    let webhooks: Vec<_> =
        live.iter().map(|webhook| json!({"name": webhook["name"], "clientConfig": {"caBundle": wanted}})).collect();
    Some(json!({ "webhooks": webhooks }))
}

/// What is read of a target. Of a CRD only this: as values, its schemas would take tens of megabytes.
#[derive(Deserialize, Serialize)]
struct Held {
    #[serde(default)]
    spec: HeldSpec,
    #[serde(default)]
    webhooks: Vec<Value>,
}

#[derive(Default, Deserialize, Serialize)]
struct HeldSpec {
    conversion: Option<Value>,
}

async fn apply_fields<K>(
    client: &Client,
    manager: &'static str,
    name: &str,
    fields: impl Fn(&Value) -> Option<Value>,
) -> kube::Result<()>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let live = serde_json::to_value(get_part::<K, Held>(client, name).await?).map_err(kube::Error::SerdeError)?;
    let Some(mut wanted) = fields(&live) else { return Ok(()) };
    wanted["apiVersion"] = json!(K::api_version(&()));
    wanted["kind"] = json!(K::kind(&()));
    wanted["metadata"] = json!({ "name": name });
    let api: Api<K> = Api::all(client.clone());
    api.patch_metadata(name, &PatchParams::apply(manager).force(), &Patch::Apply(wanted)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn call(router: Router, path: &str, review: Value) -> Value {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .body(Body::from(review.to_string()))
            .unwrap();
        let answer = router.oneshot(request).await.unwrap();
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    fn conversion(kind: &str) -> Value {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": {"uid": "u",
            "desiredAPIVersion": "example.dev/v2", "objects": [{"apiVersion": "example.dev/v1", "kind": kind, "metadata": {"name": "a"}, "spec": {"old": 1}}]}})
    }

    fn converting() -> Webhooks {
        Webhooks::new().convert(
            "Thing",
            "things.example.dev",
            Arc::new(|mut object, version| {
                let old = object["spec"]["old"].as_i64().ok_or("spec.old: Required value")?;
                object["apiVersion"] = json!(version);
                object["spec"] = json!({ "new": old });
                Ok(object)
            }),
        )
    }

    #[tokio::test]
    async fn objects_are_converted_by_kind() {
        let answer = call(converting().router(), "/convert", conversion("Thing")).await;
        assert_eq!(answer["response"]["result"]["status"], "Success", "{answer}");
        assert_eq!(answer["response"]["convertedObjects"][0]["spec"], json!({"new": 1}));
    }

    #[tokio::test]
    async fn a_conversion_that_fails_names_the_object_and_the_reason() {
        let answer = call(converting().router(), "/convert", conversion("Other")).await;
        assert_eq!(answer["response"]["result"]["message"], r#""Other" is not converted here"#);
        let mut review = conversion("Thing");
        review["request"]["objects"][0]["spec"] = json!({});
        let answer = call(converting().router(), "/convert", review).await;
        assert_eq!(
            answer["response"]["result"]["message"],
            r#"Thing "a" cannot be converted to example.dev/v2: spec.old: Required value"#
        );
    }

    fn admission(spec: Value) -> Value {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u",
            "kind": {"group": "example.dev", "version": "v1", "kind": "Thing"}, "resource": {"group": "example.dev", "version": "v1", "resource": "things"},
            "name": "a", "namespace": "n", "operation": "CREATE", "userInfo": {"username": "me"}, "dryRun": false, "oldObject": null, "options": null,
            "object": {"apiVersion": "example.dev/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": spec}}})
    }

    #[tokio::test]
    async fn an_admission_can_change_warn_and_refuse() {
        let webhooks = Webhooks::new().admit(
            "/mutate",
            BundleTarget::Mutating("m".to_owned()),
            Arc::new(|request| {
                let Some(object) = &request.object else { return Verdict::default() };
                let mut object = serde_json::to_value(object).unwrap();
                if object["spec"]["image"] == "" {
                    return Verdict {
                        denied: Some("spec.image: Required value: must be specified".to_owned()),
                        ..Verdict::default()
                    };
                }
                object["spec"]["version"] = json!("latest");
                Verdict { object: Some(object), warnings: vec!["careful".to_owned()], denied: None }
            }),
        );
        let answer = call(webhooks.router(), "/mutate", admission(json!({"image": "i"}))).await;
        assert_eq!(
            (&answer["response"]["allowed"], &answer["response"]["warnings"]),
            (&json!(true), &json!(["careful"]))
        );
        assert_eq!(answer["response"]["patchType"], "JSONPatch");
        let answer = call(webhooks.router(), "/mutate", admission(json!({"image": ""}))).await;
        assert_eq!(answer["response"]["allowed"], false);
        assert_eq!(answer["response"]["status"]["message"], "spec.image: Required value: must be specified");
    }
}
