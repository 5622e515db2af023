//! A Builder with its strategy as it can be built: after this, nobody reads the raw spec.

use std::collections::{BTreeMap, BTreeSet};

use controller_runtime::{children, driver::Failure};
use kube::ResourceExt;
use openfunction_proto::core::{Builder, KeyReference, StrategyParam, StrategyParamValue};
use serde_json::Value;

use crate::strategy::{SecurityContext, Strategy};

/// Why a build cannot start.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum Invalid {
    /// The strategy does not exist.
    #[error("spec.shipwright.strategy: {kind} {name:?} does not exist; there are {existing}")]
    NoStrategy {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Those that do.
        existing: String,
    },
    /// A parameter cannot be used.
    #[error("spec.shipwright.params: {0}")]
    Parameter(String),
    /// A field holds what cannot be used.
    #[error("{field}: Invalid value: {value:?}: {why}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The engine cannot do it.
    #[error("{field}: engine shipwright has no {what}")]
    Engine {
        /// The field.
        field: &'static str,
        /// What it has not, and what to do.
        what: &'static str,
    },
    /// The strategy cannot be run.
    #[error("the build strategy is not valid: {0}")]
    Strategy(String),
}

impl Failure for Invalid {
    fn reason(&self) -> &'static str {
        match self {
            Self::NoStrategy { .. } => "StrategyNotFound",
            Self::Parameter(_) => "InvalidParameters",
            Self::Strategy(_) => "InvalidStrategy",
            Self::Engine { .. } => "UnsupportedByEngine",
            Self::Field { .. } => "InvalidSpec",
        }
    }

    fn is_temporary(&self) -> bool {
        false
    }
}

/// The strategy that a Builder asks for: kind and name.
///
/// Without one, a builder image means Cloud Native Buildpacks, and a Dockerfile alone means `BuildKit`.
pub fn strategy_of(builder: &Builder) -> (&str, &str) {
    let strategy = builder.spec.build.shipwright.as_ref().and_then(|shipwright| shipwright.strategy.as_ref());
    match strategy {
        // Without a kind, one of the namespace is meant (B-54).
        Some(strategy) => (strategy.kind.as_deref().unwrap_or("BuildStrategy"), &strategy.name),
        None if builder.spec.build.builder.is_some() => ("ClusterBuildStrategy", "openfunction"),
        None => ("ClusterBuildStrategy", "buildkit"),
    }
}

/// A parameter with its value.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// A text.
    String(Text),
    /// Several texts.
    Array(Vec<Text>),
}

/// A text of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Text {
    /// As it is written.
    Literal(String),
    /// Of a ConfigMap or a Secret, which is never read here: the kubelet puts it in its place.
    Key(Key),
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::Literal(text.to_owned())
    }
}

/// One key of a ConfigMap or Secret, with the text around its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Whether it is that of a Secret.
    pub is_secret: bool,
    /// Name of the ConfigMap or Secret.
    pub name: String,
    /// Key in its data.
    pub key: String,
    /// What stands before and behind the value.
    pub around: (String, String),
}

impl Key {
    /// What stands for the value in a format (Shipwright, `ParamValue`).
    pub fn place(is_secret: bool) -> &'static str {
        if is_secret { "${SECRET_VALUE}" } else { "${CONFIGMAP_VALUE}" }
    }
}

/// Where the source of a build is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source<'a> {
    /// In a git repository.
    Git {
        /// URL of the repository.
        url: &'a str,
        /// Branch, tag or commit; empty means the default branch.
        revision: &'a str,
    },
    /// In an image.
    Bundle(&'a str),
    /// In the object: the content of files by their paths.
    Inline(&'a BTreeMap<String, String>),
}

/// A build as it can be started.
#[derive(Clone, Debug)]
pub struct Valid<'a> {
    /// The object.
    pub builder: &'a Builder,
    /// Where the source is.
    pub source: Source<'a>,
    /// Directory of the source that is built, without a leading slash; empty means its root.
    pub sub_path: &'a str,
    /// Steps, with parameters in their places.
    pub steps: &'a [Value],
    /// Volumes of the steps.
    pub volumes: &'a [Value],
    /// User and group of the source.
    pub security_context: SecurityContext,
    /// Parameters of the strategy.
    pub parameters: BTreeMap<String, Parameter>,
    /// Those of them that the build sets.
    pub given: BTreeSet<String>,
}

/// User and group of the source, when the strategy names none.
const NOBODY: SecurityContext = SecurityContext { run_as_user: 65532, run_as_group: 65532 };

/// Reads a Builder with its strategy.
///
/// # Errors
/// What cannot be built, with its field.
pub fn validate<'a>(builder: &'a Builder, strategy: &'a Strategy) -> Result<Valid<'a>, Invalid> {
    let build = &builder.spec.build;
    let sub_path = build.src_repo.source_sub_path.as_deref().unwrap_or_default().trim_matches('/');
    inside("spec.srcRepo.sourceSubPath", sub_path)?;
    inside("spec.dockerfile", build.dockerfile.as_deref().unwrap_or_default())?;
    is_image("spec.image", &builder.spec.image)?;
    let (parameters, given) = parameters(builder, strategy)?;
    if let Some(Parameter::String(Text::Literal(dockerfile))) = parameters.get("dockerfile") {
        inside("spec.shipwright.params[dockerfile]", dockerfile)?;
    }
    check_steps(&strategy.steps)?;
    check_keys(&strategy.steps, &parameters)?;
    Ok(Valid {
        builder,
        source: source(builder)?,
        sub_path,
        steps: &strategy.steps,
        volumes: &strategy.volumes,
        security_context: strategy.security_context.unwrap_or(NOBODY),
        parameters,
        given,
    })
}

/// Most bytes that the files of a Function may have together (goals BU8).
const LARGEST_INLINE: usize = 64 << 10;

/// Where the source is: a bundle counts before a repository (core-behaviour §3.3).
fn source(builder: &Builder) -> Result<Source<'_>, Invalid> {
    let source = &builder.spec.build.src_repo;
    if let Some(bundle) = &source.bundle_container {
        is_image("spec.srcRepo.bundleContainer.image", &bundle.image)?;
        return Ok(Source::Bundle(&bundle.image));
    }
    let Some(inline) = &source.inline else {
        let url = source.url.as_deref().unwrap_or_default();
        return Ok(Source::Git { url, revision: source.revision.as_deref().unwrap_or_default() });
    };
    let invalid =
        |value: &str, why| Invalid::Field { field: "spec.srcRepo.inline.files", value: value.to_owned(), why };
    for (path, content) in &inline.files {
        if path.is_empty() || path.split('/').any(|part| ["", ".", ".."].contains(&part)) || path.contains('\0') {
            return Err(invalid(path, "must be a relative path without empty parts, '.' and '..'"));
        }
        if content.contains('\0') {
            return Err(invalid(path, "its content must be text, without NUL"));
        }
    }
    if inline.files.values().map(String::len).sum::<usize>() > LARGEST_INLINE {
        return Err(invalid("", "all files together must not be longer than 64 KiB"));
    }
    Ok(Source::Inline(&inline.files))
}

fn is_image(field: &'static str, image: &str) -> Result<(), Invalid> {
    let is_image = !image.is_empty()
        && !image.starts_with('-')
        && image.chars().all(|c| c.is_ascii_alphanumeric() || "._:/@-".contains(c));
    let why = "must be the name of an image, for example registry.example.com/team/function:v1";
    is_image.then_some(()).ok_or_else(|| Invalid::Field { field, value: image.to_owned(), why })
}

/// Parameters of strategies that name an image in which what the next build can use is kept.
const CACHE_IMAGES: [&str; 2] = ["CACHE_IMAGE", "cache-image"];

impl Valid<'_> {
    /// Keeps what the next build of the Function can use beside its image, unless the build says where (goals BU31).
    #[must_use]
    pub fn with_cache(mut self) -> Self {
        let image = &self.builder.spec.image;
        let labels = self.builder.labels();
        let name = labels.get(children::FUNCTION).cloned().unwrap_or_else(|| self.builder.name_any());
        // A colon before the last slash is that of a port.
        let place = image.split('@').next().unwrap_or_default();
        let tag = place.rfind(':').filter(|colon| !place[*colon..].contains('/'));
        let cache = Text::Literal(format!("{}:{name}-cache", &place[..tag.unwrap_or(place.len())]));
        for name in CACHE_IMAGES {
            if self.parameters.get(name) == Some(&Parameter::String("".into())) {
                self.parameters.insert(name.to_owned(), Parameter::String(cache.clone()));
            }
        }
        self
    }
}

/// Steps become containers: each needs a name of its own that a container can have.
fn check_steps(steps: &[Value]) -> Result<(), Invalid> {
    let mut names = BTreeSet::new();
    for (index, step) in steps.iter().enumerate() {
        let name = step["name"].as_str().unwrap_or_default();
        let is_label = !name.is_empty()
            && name.len() <= 50
            && !name.ends_with('-')
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !step.is_object() || !is_label || !names.insert(name) {
            return Err(Invalid::Strategy(format!(
                "steps[{index}].name: {name:?} must be a label, and the only one of its name"
            )));
        }
    }
    Ok(())
}

/// Values of ConfigMaps and Secrets come by way of variables, which the kubelet puts into commands, arguments and other
/// variables only.
fn check_keys(steps: &[Value], parameters: &BTreeMap<String, Parameter>) -> Result<(), Invalid> {
    let is_key = |text: &Text| matches!(text, Text::Key(_));
    let has_key = |parameter: &Parameter| match parameter {
        Parameter::String(text) => is_key(text),
        Parameter::Array(texts) => texts.iter().any(is_key),
    };
    for name in parameters.iter().filter(|(_, parameter)| has_key(parameter)).map(|(name, _)| name) {
        let uses = [format!("$(params.{name})"), format!("$(params.{name}[*])")];
        for (index, step) in steps.iter().enumerate() {
            let fields = step.as_object().into_iter().flatten();
            let mut others = fields.filter(|(field, _)| !["command", "args", "env"].contains(&field.as_str()));
            if let Some((field, _)) = others.find(|(_, value)| uses.iter().any(|used| value.to_string().contains(used)))
            {
                return Err(Invalid::Parameter(format!(
                    "{name:?} comes from a ConfigMap or Secret, which can stand in command, args and env only; the strategy uses it in steps[{index}].{field}"
                )));
            }
        }
    }
    Ok(())
}

/// A path must not lead out of the source.
fn inside(field: &'static str, path: &str) -> Result<(), Invalid> {
    if path.split('/').any(|part| part == "..") {
        return Err(Invalid::Field { field, value: path.to_owned(), why: "must not contain '..'" });
    }
    Ok(())
}

/// Every parameter of the strategy with its value, the build's, else the default; and which are the build's.
fn parameters(
    builder: &Builder,
    strategy: &Strategy,
) -> Result<(BTreeMap<String, Parameter>, BTreeSet<String>), Invalid> {
    let mut given = given(builder)?;
    // Shipwright has no fields for these; our strategies have parameters (core-api §2.4).
    for (name, value) in
        [("dockerfile", &builder.spec.build.dockerfile), ("builder-image", &builder.spec.build.builder)]
    {
        if let Some(value) = value.as_ref().filter(|_| strategy.parameters.iter().any(|known| known.name == name)) {
            given.entry(name.to_owned()).or_insert_with(|| Parameter::String(Text::Literal(value.clone())));
        }
    }
    bring_env(builder, strategy, &mut given);
    bring_platforms(builder, strategy, &mut given)?;
    if let Some(unknown) = given.keys().find(|name| !strategy.parameters.iter().any(|known| &known.name == *name)) {
        let known: Vec<_> = strategy.parameters.iter().map(|known| known.name.as_str()).collect();
        return Err(Invalid::Parameter(format!(
            "the strategy has no parameter {unknown:?}, only {}",
            known.join(", ")
        )));
    }
    let value = |known: &crate::strategy::Parameter| {
        let is_array = known.type_ == "array";
        let default = || match is_array {
            true => known.defaults.clone().map(|all| Parameter::Array(all.into_iter().map(Text::Literal).collect())),
            false => known.default.clone().map(|text| Parameter::String(Text::Literal(text))),
        };
        match given.get(&known.name) {
            Some(Parameter::String(_)) if is_array => {
                Err(Invalid::Parameter(format!("{:?} is a list: write `values`, not `value`", known.name)))
            }
            Some(Parameter::Array(_)) if !is_array => {
                Err(Invalid::Parameter(format!("{:?} is a text: write `value`, not `values`", known.name)))
            }
            Some(given) => Ok((known.name.clone(), given.clone())),
            None => match default() {
                Some(default) => Ok((known.name.clone(), default)),
                None => Err(Invalid::Parameter(format!("{:?} has no value and no default", known.name))),
            },
        }
    };
    Ok((strategy.parameters.iter().map(value).collect::<Result<_, _>>()?, given.into_keys().collect()))
}

/// Brings the platforms of a build to its strategy (goals BU32): as a list, or as ko has them.
fn bring_platforms(
    builder: &Builder,
    strategy: &Strategy,
    given: &mut BTreeMap<String, Parameter>,
) -> Result<(), Invalid> {
    let platforms = &builder.spec.build.platforms;
    if platforms.is_empty() {
        return Ok(());
    }
    let has = |name: &&str| strategy.parameters.iter().any(|known| known.name == **name);
    let value = match ["platforms", "target-platform"].iter().find(|name| has(name)) {
        Some(&"platforms") => ("platforms", Parameter::Array(platforms.iter().cloned().map(Text::Literal).collect())),
        Some(name) => (*name, Parameter::String(Text::Literal(platforms.join(",")))),
        None => {
            return Err(Invalid::Field {
                field: "spec.platforms",
                value: platforms.join(","),
                why: "the strategy builds for the platform of its node only; buildkit and ko build for others",
            });
        }
    };
    given.entry(value.0.to_owned()).or_insert(value.1);
    Ok(())
}

/// Array parameter of strategies that take the variables of a build, whatever their values.
const BUILD_ENV: &str = "build-env";
/// The same in one text, as strategies that were made for the original have it.
const ENV_VARS: &str = "ENV_VARS";

/// Brings the variables of a build to a strategy that wants them as parameters.
///
/// A strategy that has only the original's parameter gets them in its form: `NAME=value#` (core-behaviour §3.3), after
/// those that are given there.
fn bring_env(builder: &Builder, strategy: &Strategy, given: &mut BTreeMap<String, Parameter>) {
    let env = &builder.spec.build.env;
    let has = |name: &str| strategy.parameters.iter().any(|known| known.name == name);
    if has(BUILD_ENV) {
        let all = env.iter().map(|(name, value)| Text::Literal(format!("{name}={value}")));
        given.entry(BUILD_ENV.to_owned()).or_insert_with(|| Parameter::Array(all.collect()));
    } else if has(ENV_VARS) && !env.is_empty() {
        let joined: String = env.iter().map(|(name, value)| format!("{name}={value}#")).collect();
        let before = match given.get(ENV_VARS) {
            Some(Parameter::String(Text::Literal(text))) if !text.is_empty() => {
                format!("{}#", text.trim_end_matches('#'))
            }
            // Of a ConfigMap or Secret: it cannot be put together with others here.
            Some(Parameter::String(Text::Key(_)) | Parameter::Array(_)) => return,
            _ => String::new(),
        };
        given.insert(ENV_VARS.to_owned(), Parameter::String(Text::Literal(before + &joined)));
    }
}

/// The parameters that the build sets.
fn given(builder: &Builder) -> Result<BTreeMap<String, Parameter>, Invalid> {
    let Some(shipwright) = &builder.spec.build.shipwright else { return Ok(BTreeMap::new()) };
    let params = shipwright.parameters().map_err(Invalid::Parameter)?;
    Ok(params.into_iter().map(from_param).collect())
}

fn from_param(param: StrategyParam) -> (String, Parameter) {
    let text = |value: StrategyParamValue| {
        let key = value.config_map_value.map(|key| from_key(key, false));
        match key.or_else(|| Some(from_key(value.secret_value?, true))) {
            Some(key) => Text::Key(key),
            None => Text::Literal(value.value.unwrap_or_default()),
        }
    };
    let parameter = match param.values {
        Some(values) => Parameter::Array(values.into_iter().map(text).collect()),
        None => Parameter::String(text(param.value)),
    };
    (param.name, parameter)
}

/// The format has the value's place in it (Shipwright, `ParamValue`); without one it stands alone.
fn from_key(reference: KeyReference, is_secret: bool) -> Key {
    let place = Key::place(is_secret);
    let around = reference.format.as_deref().and_then(|format| format.split_once(place)).unwrap_or_default();
    let around = (around.0.to_owned(), around.1.to_owned());
    Key { is_secret, name: reference.name, key: reference.key, around }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn strategy() -> Strategy {
        serde_json::from_value(json!({"parameters": [
            {"name": "dockerfile", "default": "Dockerfile"}, {"name": "builder-image", "default": "b"},
            {"name": "build-args", "type": "array", "defaults": []}],
            "steps": [{"name": "build", "image": "$(params.builder-image)"}]}))
        .unwrap()
    }

    fn builder(build: Value) -> Builder {
        let mut spec =
            json!({"image": "registry.example.com/a:1", "srcRepo": {"url": "https://git.example.com/a.git"}});
        for (key, value) in build.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(json!({"metadata": {"name": "b"}, "spec": spec})).unwrap()
    }

    fn refused(build: Value) -> String {
        validate(&builder(build), &strategy()).unwrap_err().to_string()
    }

    #[test]
    fn parameters_come_as_a_list_or_as_a_map() {
        let list = json!([{"name": "dockerfile", "value": "D"}, {"name": "build-args", "values": [{"value": "A=1"}]}]);
        let builder_of = |params: Value| builder(json!({"shipwright": {"params": params}}));
        let given = builder_of(list);
        let strategy = strategy();
        let valid = validate(&given, &strategy).unwrap();
        assert_eq!(valid.parameters["dockerfile"], Parameter::String("D".into()));
        assert_eq!(valid.parameters["build-args"], Parameter::Array(vec!["A=1".into()]));
        let given = builder_of(json!({"dockerfile": "E"}));
        assert_eq!(validate(&given, &strategy).unwrap().parameters["dockerfile"], Parameter::String("E".into()));
    }

    #[test]
    fn builder_and_dockerfile_fill_the_parameters_of_their_names() {
        let given = builder(json!({"builder": "own", "dockerfile": "sub/D"}));
        let strategy = strategy();
        let parameters = validate(&given, &strategy).unwrap().parameters;
        assert_eq!(
            (&parameters["builder-image"], &parameters["dockerfile"]),
            (&Parameter::String("own".into()), &Parameter::String("sub/D".into()))
        );
    }

    #[test]
    fn what_cannot_be_built_is_refused_with_its_field() {
        for (build, said) in [
            (
                json!({"shipwright": {"params": {"typo": "x"}}}),
                "spec.shipwright.params: the strategy has no parameter \"typo\", only dockerfile, builder-image, build-args",
            ),
            (
                json!({"shipwright": {"params": {"build-args": "x"}}}),
                "spec.shipwright.params: \"build-args\" is a list",
            ),
            (
                json!({"srcRepo": {"url": "u", "sourceSubPath": "a/../../b"}}),
                "spec.srcRepo.sourceSubPath: Invalid value: \"a/../../b\": must not contain '..'",
            ),
            (
                json!({"shipwright": {"params": [{"name": "builder-image", "secretValue": {"name": "s", "key": "k"}}]}}),
                "spec.shipwright.params: \"builder-image\" comes from a ConfigMap or Secret, which can stand in command, args and env only; the strategy uses it in steps[0].image",
            ),
            (
                json!({"shipwright": {"params": [{"name": "dockerfile"}]}}),
                "spec.shipwright.params: \"dockerfile\": has no value",
            ),
            (json!({"image": "a,push=false"}), "spec.image: Invalid value: \"a,push=false\""),
            (
                json!({"srcRepo": {"inline": {"files": {"a/../b": ""}}}}),
                "spec.srcRepo.inline.files: Invalid value: \"a/../b\": must be a relative path",
            ),
            (
                json!({"srcRepo": {"inline": {"files": {"a": "x".repeat(65_537)}}}}),
                "spec.srcRepo.inline.files: Invalid value: \"\": all files together",
            ),
            (
                json!({"srcRepo": {"bundleContainer": {"image": "a b"}}}),
                "spec.srcRepo.bundleContainer.image: Invalid value: \"a b\"",
            ),
        ] {
            let refused = refused(build);
            assert!(refused.starts_with(said), "{refused}");
        }
    }

    #[test]
    fn b52_variables_of_a_build_reach_a_strategy_without_loss() {
        let with = |parameters: Value| -> Strategy {
            serde_json::from_value(json!({ "parameters": parameters, "steps": [] })).unwrap()
        };
        let given =
            builder(json!({"env": {"A": "-mod=a b#c", "EMPTY": ""}, "shipwright": {"params": {"ENV_VARS": "B=1#"}}}));
        let ours =
            with(json!([{"name": "build-env", "type": "array", "defaults": []}, {"name": "ENV_VARS", "default": ""}]));
        let parameters = validate(&given, &ours).unwrap().parameters;
        assert_eq!(parameters["build-env"], Parameter::Array(vec!["A=-mod=a b#c".into(), "EMPTY=".into()]));
        assert_eq!(parameters["ENV_VARS"], Parameter::String("B=1#".into()));
        let original = with(json!([{"name": "ENV_VARS", "default": ""}]));
        let parameters = validate(&given, &original).unwrap().parameters;
        assert_eq!(parameters["ENV_VARS"], Parameter::String("B=1#A=-mod=a b#c#EMPTY=#".into()));
        let given = builder(json!({"env": {"A": "1"}}));
        assert!(validate(&given, &with(json!([]))).is_ok(), "B-51");
    }

    #[test]
    fn bu31_what_the_next_build_can_use_is_kept_beside_the_image() {
        let strategy: Strategy = serde_json::from_value(
            json!({"parameters": [{"name": "cache-image", "default": ""}, {"name": "CACHE_IMAGE", "default": ""}], "steps": []}),
        )
        .unwrap();
        for (image, cache) in [
            ("registry:5000/a/b:v1", "registry:5000/a/b:b-cache"),
            ("registry:5000/a/b", "registry:5000/a/b:b-cache"),
            ("a/b@sha256:1", "a/b:b-cache"),
        ] {
            let given = builder(json!({"image": image, "shipwright": {"params": {"CACHE_IMAGE": "own"}}}));
            let parameters = validate(&given, &strategy).unwrap().with_cache().parameters;
            assert_eq!(parameters["cache-image"], Parameter::String(cache.into()));
            assert_eq!(parameters["CACHE_IMAGE"], Parameter::String("own".into()));
        }
    }

    #[test]
    fn bu32_platforms_reach_a_strategy_that_has_them() {
        let given = builder(json!({"platforms": ["linux/amd64", "linux/arm64"]}));
        let with = |name: &str, type_: &str| -> Result<Parameter, Invalid> {
            let parameter = json!({"name": name, "type": type_, "default": "", "defaults": []});
            let strategy = serde_json::from_value(json!({"parameters": [parameter], "steps": []})).unwrap();
            validate(&given, &strategy).map(|valid| valid.parameters[name].clone())
        };
        assert_eq!(with("platforms", "array"), Ok(Parameter::Array(vec!["linux/amd64".into(), "linux/arm64".into()])));
        assert_eq!(with("target-platform", "string"), Ok(Parameter::String("linux/amd64,linux/arm64".into())));
        assert!(with("other", "string").unwrap_err().to_string().starts_with("spec.platforms: Invalid value"));
    }

    #[test]
    fn a_bundle_counts_before_a_repository() {
        let given =
            builder(json!({"srcRepo": {"url": "u", "revision": "r", "bundleContainer": {"image": "a.io/b:1"}}}));
        assert_eq!(source(&given), Ok(Source::Bundle("a.io/b:1")));
        let given = builder(json!({"srcRepo": {"url": "u", "revision": "r"}}));
        assert_eq!(source(&given), Ok(Source::Git { url: "u", revision: "r" }));
    }

    #[test]
    fn without_a_strategy_the_fields_say_which_is_meant() {
        assert_eq!(strategy_of(&builder(json!({"dockerfile": "D"}))), ("ClusterBuildStrategy", "buildkit"));
        assert_eq!(
            strategy_of(&builder(json!({"builder": "openfunction/builder-go"}))),
            ("ClusterBuildStrategy", "openfunction")
        );
        let named = builder(json!({"shipwright": {"strategy": {"name": "own"}}}));
        assert_eq!(strategy_of(&named), ("BuildStrategy", "own"), "B-54");
    }
}
