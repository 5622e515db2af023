//! A Builder with its strategy as it can be built: after this, nobody reads the raw spec.

use std::collections::{BTreeMap, BTreeSet};

use controller_runtime::driver::Failure;
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
    /// The strategy cannot be run.
    #[error("the build strategy is not valid: {0}")]
    Strategy(String),
    /// The source is of a kind that this version does not read.
    #[error("spec.srcRepo.{0}: this kind of source is not available in this version; use url")]
    Source(&'static str),
}

impl Failure for Invalid {
    fn reason(&self) -> &'static str {
        match self {
            Self::NoStrategy { .. } => "StrategyNotFound",
            Self::Parameter(_) => "InvalidParameters",
            Self::Strategy(_) => "InvalidStrategy",
            Self::Field { .. } => "InvalidSpec",
            Self::Source(_) => "SourceUnavailable",
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

/// A build as it can be started.
#[derive(Clone, Debug)]
pub struct Valid<'a> {
    /// The object.
    pub builder: &'a Builder,
    /// Git URL of the source.
    pub url: &'a str,
    /// Branch, tag or commit; empty means the default branch.
    pub revision: &'a str,
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
}

/// User and group of the source, when the strategy names none.
const NOBODY: SecurityContext = SecurityContext { run_as_user: 65532, run_as_group: 65532 };

/// Reads a Builder with its strategy.
///
/// # Errors
/// What cannot be built, with its field.
pub fn validate<'a>(builder: &'a Builder, strategy: &'a Strategy) -> Result<Valid<'a>, Invalid> {
    let build = &builder.spec.build;
    let source = &build.src_repo;
    if source.bundle_container.is_some() {
        return Err(Invalid::Source("bundleContainer"));
    }
    if source.inline.is_some() {
        return Err(Invalid::Source("inline"));
    }
    let sub_path = source.source_sub_path.as_deref().unwrap_or_default().trim_matches('/');
    inside("spec.srcRepo.sourceSubPath", sub_path)?;
    inside("spec.dockerfile", build.dockerfile.as_deref().unwrap_or_default())?;
    let image = &builder.spec.image;
    if image.is_empty()
        || image.starts_with('-')
        || !image.chars().all(|c| c.is_ascii_alphanumeric() || "._:/@-".contains(c))
    {
        return Err(Invalid::Field {
            field: "spec.image",
            value: image.clone(),
            why: "must be the name of an image, for example registry.example.com/team/function:v1",
        });
    }
    let parameters = parameters(builder, strategy)?;
    if let Some(Parameter::String(Text::Literal(dockerfile))) = parameters.get("dockerfile") {
        inside("spec.shipwright.params[dockerfile]", dockerfile)?;
    }
    check_steps(&strategy.steps)?;
    check_keys(&strategy.steps, &parameters)?;
    Ok(Valid {
        builder,
        url: source.url.as_deref().unwrap_or_default(),
        revision: source.revision.as_deref().unwrap_or_default(),
        sub_path,
        steps: &strategy.steps,
        volumes: &strategy.volumes,
        security_context: strategy.security_context.unwrap_or(NOBODY),
        parameters,
    })
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

/// Every parameter of the strategy with its value: the build's, else the default.
fn parameters(builder: &Builder, strategy: &Strategy) -> Result<BTreeMap<String, Parameter>, Invalid> {
    let mut given = given(builder)?;
    // Shipwright has no fields for these; our strategies have parameters (core-api §2.4).
    for (name, value) in
        [("dockerfile", &builder.spec.build.dockerfile), ("builder-image", &builder.spec.build.builder)]
    {
        if let Some(value) = value.as_ref().filter(|_| strategy.parameters.iter().any(|known| known.name == name)) {
            given.entry(name.to_owned()).or_insert_with(|| Parameter::String(Text::Literal(value.clone())));
        }
    }
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
    strategy.parameters.iter().map(value).collect()
}

/// The parameters that the build sets: a list, or a map as older manifests write it.
fn given(builder: &Builder) -> Result<BTreeMap<String, Parameter>, Invalid> {
    let params = builder.spec.build.shipwright.as_ref().and_then(|shipwright| shipwright.params.as_ref());
    match params {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(map)) => map
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) => Ok((name.clone(), Parameter::String(Text::Literal(text.clone())))),
                Value::Number(_) | Value::Bool(_) => {
                    Ok((name.clone(), Parameter::String(Text::Literal(value.to_string()))))
                }
                _ => Err(Invalid::Parameter(format!("the value of {name:?} must be a text"))),
            })
            .collect(),
        Some(list) => {
            let list: Vec<StrategyParam> = serde_json::from_value(list.clone())
                .map_err(|error| Invalid::Parameter(format!("must be a list of name and value: {error}")))?;
            list.into_iter().map(from_list).collect()
        }
    }
}

fn from_list(param: StrategyParam) -> Result<(String, Parameter), Invalid> {
    let problem = |what: &str| Invalid::Parameter(format!("{:?}: {what}", param.name));
    let text = |value: StrategyParamValue| match (value.value, value.config_map_value, value.secret_value) {
        (Some(value), None, None) => Ok(Text::Literal(value)),
        (None, Some(key), None) => Ok(Text::Key(from_key(key, false))),
        (None, None, Some(key)) => Ok(Text::Key(from_key(key, true))),
        (None, None, None) => Err(problem("has no value")),
        _ => Err(problem("must have one of value, configMapValue and secretValue")),
    };
    let parameter = match param.values {
        Some(values) => Parameter::Array(values.into_iter().map(text).collect::<Result<_, _>>()?),
        None => Parameter::String(text(param.value)?),
    };
    Ok((param.name.clone(), parameter))
}

/// The format has the value's place in it (Shipwright, `ParamValue`); without one it stands alone.
fn from_key(reference: KeyReference, is_secret: bool) -> Key {
    let place = if is_secret { "${SECRET_VALUE}" } else { "${CONFIGMAP_VALUE}" };
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
            (json!({"srcRepo": {"inline": {"files": {"a": "b"}}}}), "spec.srcRepo.inline: this kind of source"),
        ] {
            let refused = refused(build);
            assert!(refused.starts_with(said), "{refused}");
        }
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
