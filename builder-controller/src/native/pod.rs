//! The Pod of a build.

use std::collections::BTreeMap;

use controller_runtime::{
    children,
    names::{self, DNS_LABEL},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use openfunction_proto::core::{Builder, LocalObjectReference};
use serde_json::{Map, Value, json};

use crate::{
    ABOUT,
    validate::{Key, Parameter, Source, Text, Valid},
};

/// Folder of the source.
const SOURCE: &str = "/workspace/source";
/// Folder of results: a file for each.
const RESULTS: &str = "/workspace/results";
/// Folder with the Docker configuration of the steps: with the credentials to push, and those to pull.
const DOCKER: &str = "/workspace/docker";
/// Folders with the Docker configurations that it is made of.
const PUSH: &str = "/workspace/push";
const PULL: &str = "/workspace/pull";
/// Folder with the credentials of the git server.
const GIT: &str = "/workspace/git";
/// The certificate authorities that builds trust, when the installation names some.
const TRUSTED: &str = "/workspace/ca-certificates.crt";
/// Variables by which programs are told of that file: OpenSSL and Go, git, curl, Python, Node.
const TRUST: [&str; 5] =
    ["SSL_CERT_FILE", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"];
/// Variable with those that the installation names, for build-helper.
const AUTHORITIES: &str = "BUILD_HELPER_CA";

// Volumes of ours, whose names no strategy has.
const WORKSPACE: &str = "openfunction-workspace";
const TMP: &str = "openfunction-tmp";
const DOCKER_CONFIG: &str = "openfunction-docker";
// Optional: a Secret that is missing is told by the container that needs it, instead of holding the pod up in silence.
const PUSH_SECRET: &str = "openfunction-push";
const PULL_SECRET: &str = "openfunction-pull";
const GIT_SECRET: &str = "openfunction-git";

/// Container that gets the source.
pub const SOURCE_STEP: &str = "source";
/// Container that reads the results.
pub const RESULTS_STEP: &str = "results";
/// Prefix of the containers of the strategy's steps.
pub const STEP: &str = "step-";

/// What the installation says about pods of builds.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Image of build-helper.
    pub helper_image: String,
    /// Registries that are reached by plain HTTP.
    pub insecure_registries: Vec<String>,
    /// Whether what the next build can use is kept in the registry.
    pub keeps_cache: bool,
    /// Variables that tell programs of proxies.
    pub proxies: BTreeMap<String, String>,
    /// Certificates, in PEM, of authorities to trust besides the usual ones.
    pub authorities: String,
}

impl Settings {
    /// A build with the variables that every build of the installation has; its own win.
    pub fn with_proxies(&self, builder: &Builder) -> Builder {
        with_variables(builder, &self.proxies)
    }

    /// A build whose programs trust the installation's authorities.
    pub fn with_trust(&self, builder: &Builder) -> Builder {
        let trust = TRUST.iter().filter(|_| !self.authorities.is_empty());
        with_variables(builder, &trust.map(|name| ((*name).to_owned(), TRUSTED.to_owned())).collect())
    }
}

fn with_variables(builder: &Builder, variables: &BTreeMap<String, String>) -> Builder {
    let mut builder = builder.clone();
    for (name, value) in variables {
        builder.spec.build.env.entry(name.clone()).or_insert_with(|| value.clone());
    }
    builder
}

/// Name of the Pod of a Builder.
pub fn name(builder: &str) -> String {
    names::child(builder, "build", DNS_LABEL)
}

/// Name, labels and owner of what runs a build, whichever engine it is of.
pub fn metadata(builder: &Builder) -> ObjectMeta {
    let name_of_builder = builder.name_any();
    let mut labels = vec![(children::BUILDER, name_of_builder.as_str())];
    let function = builder.labels().get(children::FUNCTION).filter(|function| !function.is_empty());
    labels.extend(function.map(|function| (children::FUNCTION, function.as_str())));
    children::metadata(builder, name(&name_of_builder), ABOUT.name, &labels)
}

/// The Pod. Its containers share a folder with the source and one with results.
pub fn pod(valid: &Valid, settings: &Settings) -> Value {
    let builder = valid.builder;
    let mut steps = vec![source(valid, settings)];
    steps.extend(valid.steps.iter().map(|wanted| step(valid, wanted)));
    let mut spec = json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "initContainers": steps,
        "containers": [results(valid, settings)],
        "volumes": volumes(valid),
        "nodeSelector": valid.builder.spec.build.node_selector,
        "tolerations": valid.builder.spec.build.tolerations,
    });
    if let Some(secret) = builder.spec.build.builder_credentials.as_ref().and_then(|secret| secret.name.clone()) {
        spec["imagePullSecrets"] = json!([{ "name": secret }]);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata(builder), "spec": spec})
}

fn volumes(valid: &Valid) -> Vec<Value> {
    let mut volumes = vec![json!({"name": WORKSPACE, "emptyDir": {}}), json!({"name": TMP, "emptyDir": {}})];
    let docker = Docker::of(valid);
    if docker.is_any() {
        volumes.push(json!({"name": DOCKER_CONFIG, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}));
    }
    for (name, secret) in [(PUSH_SECRET, docker.push), (PULL_SECRET, docker.pull)] {
        let item = json!({"key": ".dockerconfigjson", "path": "config.json"});
        volumes.extend(
            secret.map(
                |secret| json!({"name": name, "secret": {"secretName": secret, "items": [item], "optional": true}}),
            ),
        );
    }
    if let Some(secret) = secret(valid.builder.spec.build.src_repo.credentials.as_ref()) {
        volumes.push(json!({"name": GIT_SECRET, "secret": {"secretName": secret, "optional": true}}));
    }
    volumes.extend(valid.volumes.iter().cloned().map(|mut volume| {
        // Shipwright's own words about a volume, which a pod does not know.
        if let Some(volume) = volume.as_object_mut() {
            volume.remove("overridable");
            volume.remove("description");
        }
        volume
    }));
    volumes
}

/// The Secrets with credentials of registries.
struct Docker {
    push: Option<String>,
    pull: Option<String>,
}

impl Docker {
    fn of(valid: &Valid) -> Self {
        let spec = &valid.builder.spec;
        Self { push: secret(spec.image_credentials.as_ref()), pull: secret(spec.build.builder_credentials.as_ref()) }
    }

    fn is_any(&self) -> bool {
        self.push.is_some() || self.pull.is_some()
    }
}

/// Adds to a list of a container.
fn add(container: &mut Value, list: &str, items: impl IntoIterator<Item = Value>) {
    if let Some(known) = container[list].as_array_mut() {
        known.extend(items);
    }
}

/// Name of a Secret that is named.
pub fn secret(reference: Option<&LocalObjectReference>) -> Option<String> {
    reference.and_then(|reference| reference.name.clone()).filter(|name| !name.is_empty())
}

/// A container of ours: it needs no rights.
fn helper(valid: &Valid, name: &str, image: &str, args: Vec<String>) -> Value {
    json!({
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": args,
        "env": [{"name": "HOME", "value": "/tmp"}],
        "securityContext": {
            "runAsUser": valid.security_context.run_as_user,
            "runAsGroup": valid.security_context.run_as_group,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": WORKSPACE, "mountPath": "/workspace"}, {"name": TMP, "mountPath": "/tmp"}],
    })
}

fn source(valid: &Valid, settings: &Settings) -> Value {
    let mut args = vec![format!("--into={SOURCE}"), format!("--results={RESULTS}")];
    let mut variables = Vec::new();
    let mut mounts = Vec::new();
    let mut mount = |name: &str, place: &str| mounts.push(json!({"name": name, "mountPath": place, "readOnly": true}));
    let credentials = secret(valid.builder.spec.build.src_repo.credentials.as_ref());
    if credentials.is_some() {
        mount(GIT_SECRET, GIT);
    }
    let docker = Docker::of(valid);
    if docker.push.is_some() {
        mount(PUSH_SECRET, PUSH);
        args.push(format!("--push-credentials={PUSH}/config.json"));
    }
    if docker.pull.is_some() {
        mount(PULL_SECRET, PULL);
        args.push(format!("--pull-credentials={PULL}/config.json"));
    }
    if docker.is_any() {
        mounts.push(json!({"name": DOCKER_CONFIG, "mountPath": DOCKER}));
        args.push(format!("--docker-config={DOCKER}"));
    }
    if !settings.authorities.is_empty() {
        args.push(format!("--trusted={TRUSTED}"));
    }
    let command = match valid.source {
        Source::Git { url, revision } => {
            args.extend(credentials.as_ref().map(|_| format!("--credentials={GIT}")));
            args.extend([format!("--revision={}", escaped(revision)), format!("--url={}", escaped(url))]);
            "git"
        }
        Source::Bundle(image) => {
            args.extend(credentials.as_ref().map(|_| format!("--credentials={GIT}/.dockerconfigjson")));
            args.extend(settings.insecure_registries.iter().map(|host| format!("--insecure={host}")));
            args.push(format!("--image={image}"));
            "source"
        }
        Source::Inline(files) => {
            args.extend(files.keys().map(|path| format!("--file={}", escaped(path))));
            let content = |(index, text): (usize, &String)| json!({"name": format!("BUILD_HELPER_FILE_{index}"), "value": escaped(text)});
            variables.extend(files.values().enumerate().map(content));
            "inline"
        }
    };
    args.insert(0, command.to_owned());
    let mut container = helper(valid, SOURCE_STEP, &settings.helper_image, args);
    add(&mut container, "env", surroundings(valid, settings).into_iter().chain(variables));
    add(&mut container, "volumeMounts", mounts);
    container
}

/// Variables of containers of ours that speak with servers.
fn surroundings(valid: &Valid, settings: &Settings) -> Vec<Value> {
    let own = &valid.builder.spec.build.env;
    let proxies = settings.proxies.iter().map(|(name, value)| (name, own.get(name).unwrap_or(value)));
    let mut variables: Vec<_> = proxies.map(|(name, value)| json!({"name": name, "value": escaped(value)})).collect();
    if !settings.authorities.is_empty() {
        variables.push(json!({"name": AUTHORITIES, "value": escaped(&settings.authorities)}));
    }
    variables
}

fn results(valid: &Valid, settings: &Settings) -> Value {
    let mut args = vec!["results".to_owned(), format!("--results={RESULTS}")];
    args.push(format!("--image={}", valid.builder.spec.image));
    args.extend(settings.insecure_registries.iter().map(|host| format!("--insecure={host}")));
    let has_credentials = Docker::of(valid).is_any();
    args.extend(has_credentials.then(|| format!("--credentials={DOCKER}/config.json")));
    let mut container = helper(valid, RESULTS_STEP, &settings.helper_image, args);
    add(&mut container, "env", surroundings(valid, settings));
    if has_credentials {
        add(&mut container, "volumeMounts", [docker_mount()]);
    }
    container
}

fn docker_mount() -> Value {
    json!({"name": DOCKER_CONFIG, "mountPath": DOCKER, "readOnly": true})
}

fn step(valid: &Valid, wanted: &Value) -> Value {
    let mut container = substitute(wanted, &|name| value_of(valid, name));
    let name = wanted["name"].as_str().unwrap_or("unnamed");
    container["name"] = json!(format!("{STEP}{name}"));
    container["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
    let mut mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
    mounts.push(json!({"name": WORKSPACE, "mountPath": "/workspace"}));
    let mut variables = container["env"].as_array().cloned().unwrap_or_default();
    // First, since a variable can only name those before it.
    variables.splice(0..0, keys(valid).iter().map(|key| variable(key)).collect::<Vec<_>>());
    if Docker::of(valid).is_any() {
        mounts.push(docker_mount());
        variables.retain(|known| known["name"] != "DOCKER_CONFIG");
        variables.push(json!({"name": "DOCKER_CONFIG", "value": DOCKER}));
    }
    // As Shipwright's `Build.spec.env`: a variable of every step.
    for (name, value) in &valid.builder.spec.build.env {
        variables.retain(|known| known["name"] != name.as_str());
        variables.push(json!({"name": name, "value": escaped(value)}));
    }
    container["volumeMounts"] = json!(mounts);
    container["env"] = json!(variables);
    if let Some(resources) = &valid.builder.spec.build.resources {
        container["resources"] = json!(resources);
    }
    container
}

/// The keys of ConfigMaps and Secrets that parameters come from.
fn keys<'a>(valid: &'a Valid) -> Vec<&'a Key> {
    let texts = valid.parameters.values().flat_map(|parameter| match parameter {
        Parameter::String(text) => std::slice::from_ref(text),
        Parameter::Array(texts) => texts.as_slice(),
    });
    let mut keys: Vec<&Key> = Vec::new();
    for text in texts {
        if let Text::Key(key) = text
            && !keys.iter().any(|known| name_of(known) == name_of(key))
        {
            keys.push(key);
        }
    }
    keys
}

/// Name of the variable that brings a key's value into a step.
fn name_of(key: &Key) -> String {
    let hash = names::hash(&json!([key.is_secret, key.name, key.key]));
    format!("OPENFUNCTION_PARAM_{}", hash.to_uppercase())
}

fn variable(key: &Key) -> Value {
    let reference = if key.is_secret { "secretKeyRef" } else { "configMapKeyRef" };
    json!({"name": name_of(key), "valueFrom": {reference: {"name": key.name, "key": key.key}}})
}

/// A text as it can stand in a container.
fn written(text: &Text) -> String {
    match text {
        Text::Literal(text) => escaped(text),
        Text::Key(key) => format!("{}$({}){}", escaped(&key.around.0), name_of(key), escaped(&key.around.1)),
    }
}

/// What `$(name)` means in a step.
fn value_of(valid: &Valid, name: &str) -> Option<Parameter> {
    let text = |text: String| Some(Parameter::String(Text::Literal(text)));
    if let Some(result) = name.strip_prefix("results.").and_then(|rest| rest.strip_suffix(".path")) {
        let is_name = result.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        return is_name.then(|| Parameter::String(Text::Literal(format!("{RESULTS}/{result}"))));
    }
    match name.strip_prefix("params.")? {
        "shp-source-root" => text(SOURCE.to_owned()),
        "shp-source-context" if valid.sub_path.is_empty() => text(SOURCE.to_owned()),
        "shp-source-context" => text(format!("{SOURCE}/{}", valid.sub_path)),
        "shp-output-image" => text(valid.builder.spec.image.clone()),
        "shp-output-insecure" => text("false".to_owned()),
        parameter => valid.parameters.get(parameter.trim_end_matches("[*]")).cloned(),
    }
}

/// Puts values in the place of `$(…)`; an element of a list that is `$(params.x[*])` becomes as many as it has.
fn substitute(value: &Value, value_of: &impl Fn(&str) -> Option<Parameter>) -> Value {
    match value {
        Value::String(text) => Value::String(replace(text, value_of)),
        Value::Array(items) => {
            let expand = |item: &Value| match whole_list(item, value_of) {
                Some(values) => values.iter().map(|value| json!(written(value))).collect(),
                None => vec![substitute(item, value_of)],
            };
            Value::Array(items.iter().flat_map(expand).collect())
        }
        Value::Object(fields) => Value::Object(
            fields.iter().map(|(key, value)| (key.clone(), substitute(value, value_of))).collect::<Map<_, _>>(),
        ),
        other => other.clone(),
    }
}

fn whole_list(item: &Value, value_of: &impl Fn(&str) -> Option<Parameter>) -> Option<Vec<Text>> {
    let name = item.as_str()?.strip_prefix("$(")?.strip_suffix("[*])")?;
    match value_of(&format!("{name}[*]"))? {
        Parameter::Array(values) => Some(values),
        Parameter::String(_) => None,
    }
}

fn replace(text: &str, value_of: &impl Fn(&str) -> Option<Parameter>) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find("$(") {
        let (before, from) = rest.split_at(begin);
        replaced.push_str(before);
        let known = from.find(')').and_then(|end| match value_of(&from[2..end])? {
            Parameter::String(value) => Some((value, end + 1)),
            Parameter::Array(_) => None,
        });
        match known {
            Some((value, end)) => {
                replaced.push_str(&written(&value));
                rest = &from[end..];
            }
            None => {
                replaced.push_str("$(");
                rest = &from[2..];
            }
        }
    }
    replaced + rest
}

/// The kubelet puts variables in the place of `$(…)`, and `$` in that of `$$`; a value of the user is none of that.
pub fn escaped(value: &str) -> String {
    value.replace('$', "$$")
}

/// Results that the container `results` reads, by the names of their files.
pub type Results = BTreeMap<String, String>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{strategy::Strategy, validate::validate};

    fn rendered(build: Value) -> Value {
        let mut spec = json!({"image": "registry.example.com/a:1", "srcRepo": {"url": "https://git.example.com/a.git", "revision": "main", "sourceSubPath": "/sub/dir"}});
        for (key, value) in build.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let metadata = json!({"name": "hello-0123456789", "namespace": "shop", "uid": "u", "labels": {"openfunction.io/function": "hello"}});
        let builder: Builder = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        let strategy: Strategy = serde_json::from_value(json!({
            "parameters": [{"name": "dockerfile", "default": "Dockerfile"}, {"name": "args", "type": "array", "defaults": []}],
            "steps": [{"name": "build", "image": "tool", "securityContext": {"privileged": true}, "env": [{"name": "IN", "value": "$(params.shp-source-context)"}],
                "args": ["$(params.dockerfile)", "-x", "$(params.args[*])", "$(results.shp-image-digest.path)", "$(KEPT)"]}],
            "volumes": [{"name": "cache", "overridable": true, "emptyDir": {}}]}))
        .unwrap();
        let settings = Settings { helper_image: "helper:1".to_owned(), ..Settings::default() };
        pod(&validate(&builder, &strategy).unwrap(), &settings)
    }

    #[test]
    fn the_steps_run_after_the_source_and_before_the_results() {
        let pod = rendered(json!({}));
        let containers: Vec<_> =
            pod["spec"]["initContainers"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
        assert_eq!(
            (containers, &pod["spec"]["containers"][0]["name"]),
            (vec![json!("source"), json!("step-build")], &json!("results"))
        );
        assert_eq!(pod["metadata"]["name"], "hello-0123456789-build");
        assert_eq!(pod["spec"]["volumes"][2], json!({"name": "cache", "emptyDir": {}}));
    }

    #[test]
    fn parameters_stand_in_their_places_and_lists_become_elements() {
        let params = json!([{"name": "args", "values": [{"value": "a b"}, {"value": "$(HOME)"}]}]);
        let pod = rendered(json!({"shipwright": {"params": params}}));
        let step = &pod["spec"]["initContainers"][1];
        assert_eq!(
            step["args"],
            json!(["Dockerfile", "-x", "a b", "$$(HOME)", "/workspace/results/shp-image-digest", "$(KEPT)"])
        );
        assert_eq!(step["env"][0]["value"], "/workspace/source/sub/dir");
    }

    #[test]
    fn st10_values_of_configmaps_and_secrets_are_put_in_by_the_kubelet() {
        let secret = json!({"name": "s", "key": "token", "format": "TOKEN=${SECRET_VALUE};$x"});
        let params = json!([{"name": "dockerfile", "configMapValue": {"name": "c", "key": "file"}}, {"name": "args", "values": [{"secretValue": secret}, {"value": "b"}]}]);
        let pod = rendered(json!({"shipwright": {"params": params}}));
        let step = &pod["spec"]["initContainers"][1];
        let of = |reference: &str| {
            let variables = step["env"].as_array().unwrap();
            variables.iter().find(|variable| variable["valueFrom"].get(reference).is_some()).unwrap().clone()
        };
        let (file, token) = (of("configMapKeyRef"), of("secretKeyRef"));
        assert_eq!(file["valueFrom"]["configMapKeyRef"], json!({"name": "c", "key": "file"}));
        assert_eq!(token["valueFrom"]["secretKeyRef"], json!({"name": "s", "key": "token"}));
        let [file, token] = [&file, &token].map(|variable| variable["name"].as_str().unwrap());
        assert_eq!(step["args"][0], format!("$({file})"));
        assert_eq!(step["args"][2], format!("TOKEN=$({token});$$x"));
        assert_eq!(step["args"][3], "b");
        assert_eq!(step["env"].as_array().unwrap().last().unwrap()["name"], "IN", "theirs come first");
    }

    #[test]
    fn the_environment_of_a_build_reaches_every_step_unchanged() {
        let pod = rendered(json!({"env": {"GOFLAGS": "-mod=vendor # $(x) $$", "EMPTY": ""}}));
        let variables = pod["spec"]["initContainers"][1]["env"].as_array().unwrap().clone();
        // What the kubelet makes of it is what was written.
        assert!(
            variables.contains(&json!({"name": "GOFLAGS", "value": "-mod=vendor # $$(x) $$$$"})),
            "B-52 {variables:?}"
        );
        assert!(variables.contains(&json!({"name": "EMPTY", "value": ""})));
    }

    #[test]
    fn credentials_are_mounted_and_never_read() {
        let source = json!({"url": "https://git.example.com/a.git", "credentials": {"name": "git-user"}});
        let pod = rendered(json!({"imageCredentials": {"name": "push"}, "srcRepo": source}));
        let volumes = pod["spec"]["volumes"].to_string();
        assert!(
            volumes.contains(r#""secretName":"push""#) && volumes.contains(r#""secretName":"git-user""#),
            "{volumes}"
        );
        let [source, step] = [0, 1].map(|index| pod["spec"]["initContainers"][index].to_string());
        assert!(source.contains("--credentials=/workspace/git"), "{source}");
        assert!(step.contains("DOCKER_CONFIG") && !step.contains("/workspace/git\""), "{step}");
        assert!(!step.contains("/workspace/push"), "{step}");
    }

    #[test]
    fn credentials_to_pull_are_put_with_those_to_push() {
        let args = |build: Value| rendered(build)["spec"]["initContainers"][0]["args"].to_string();
        let both = args(json!({"imageCredentials": {"name": "push"}, "builderCredentials": {"name": "pull"}}));
        for argument in
            ["--push-credentials=/workspace/push/config.json", "--pull-credentials=/workspace/pull/config.json"]
        {
            assert!(both.contains(argument), "{both}");
        }
        assert!(!args(json!({})).contains("docker"));
        let pull = rendered(json!({"builderCredentials": {"name": "pull"}}));
        assert_eq!(pull["spec"]["imagePullSecrets"], json!([{"name": "pull"}]));
        assert!(pull["spec"]["initContainers"][1].to_string().contains("DOCKER_CONFIG"));
    }

    #[test]
    fn proxies_and_authorities_of_the_installation_reach_every_step() {
        let builder: Builder =
            serde_json::from_value(json!({"metadata": {"name": "b", "namespace": "n", "uid": "u"}, "spec": {
            "image": "a.io/b:1", "srcRepo": {"url": "https://a/b"}, "env": {"https_proxy": "http://own"}}}))
            .unwrap();
        let strategy: Strategy =
            serde_json::from_value(json!({"steps": [{"name": "build", "image": "tool"}]})).unwrap();
        let proxies = ["HTTPS_PROXY", "https_proxy"].map(|name| (name.to_owned(), "http://proxy:3128".to_owned()));
        let settings = Settings { proxies: proxies.into(), authorities: "PEM".to_owned(), ..Settings::default() };
        let builder = settings.with_trust(&settings.with_proxies(&builder));
        let pod = pod(&validate(&builder, &strategy).unwrap(), &settings);
        let [source, step] =
            [0, 1].map(|index| pod["spec"]["initContainers"][index]["env"].as_array().unwrap().clone());
        for (variables, name, value) in [
            (&step, "HTTPS_PROXY", "http://proxy:3128"),
            (&step, "https_proxy", "http://own"),
            (&step, "SSL_CERT_FILE", "/workspace/ca-certificates.crt"),
            (&source, "HTTPS_PROXY", "http://proxy:3128"),
            (&source, "https_proxy", "http://own"),
            (&source, "BUILD_HELPER_CA", "PEM"),
        ] {
            assert!(variables.contains(&json!({"name": name, "value": value})), "{name} {variables:?}");
        }
    }

    /// Strings of the user must be arguments of their own or variables: a shell that reads one would run it.
    #[test]
    fn no_string_of_a_build_is_part_of_a_script() {
        const MARK: &str = "x;$(touch /pwned)`id`&&'\"";
        let sources = [
            json!({"url": format!("https://h/{MARK}"), "revision": MARK, "sourceSubPath": MARK}),
            json!({"inline": {"files": {MARK: MARK}}}),
        ];
        for (name, strategy) in crate::strategy::of_files() {
            for source in &sources {
                let mut params: Vec<Value> = Vec::new();
                for parameter in strategy.parameters.iter().filter(|parameter| !parameter.name.contains("IMAGE")) {
                    params.push(match parameter.type_.as_str() {
                        "array" => json!({"name": parameter.name, "values": [{"value": MARK}]}),
                        _ => json!({"name": parameter.name, "value": MARK}),
                    });
                }
                let builder: Builder =
                    serde_json::from_value(json!({"metadata": {"name": "b", "namespace": "n", "uid": "u"}, "spec": {
                    "image": "a.io/b:1", "builder": MARK, "dockerfile": MARK, "srcRepo": source, "env": {MARK: MARK},
                    "shipwright": {"params": params}}}))
                    .unwrap();
                let pod = pod(&validate(&builder, &strategy).unwrap(), &Settings::default());
                let mut seen = 0;
                for container in pod["spec"]["initContainers"].as_array().unwrap() {
                    let words = |field: &str| container[field].as_array().cloned().unwrap_or_default();
                    for (index, word) in words("command").iter().chain(&words("args")).enumerate() {
                        let word = word.as_str().unwrap();
                        let is_marked = word.contains("touch /pwned");
                        seen += usize::from(is_marked);
                        // A script is long, and follows -c.
                        assert!(!is_marked || word.len() < 200, "{name}: word {index} of {}", container["name"]);
                        // The kubelet leaves it as it is.
                        assert!(!is_marked || word.contains("$$(touch"), "{name}: {word}");
                    }
                }
                assert!(seen > 2, "{name}: {seen}");
            }
        }
    }
}
