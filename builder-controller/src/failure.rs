//! What a failed step means: a reason, and what to do about it, from what it said.

use openfunction_proto::core::BuildFailure;

use crate::native::{Failed, SOURCE_STEP};

/// Log lines that are kept.
const LINES: usize = 20;
/// Bytes of the log that are kept.
const BYTES: usize = 4096;

/// Reason of a step that failed in no way that is known here.
const STEP_FAILED: &str = "StepFailed";

/// Text in a log, what it means, and what to do.
type Known = (&'static str, &'static str, &'static str);

const OF_SOURCE: &[Known] = &[
    PUSH_MISSING,
    (
        "credentials of a registry are not JSON",
        "CredentialsInvalid",
        "check the Secrets that spec.imageCredentials and spec.build.builderCredentials name, of type kubernetes.io/dockerconfigjson",
    ),
    (
        "has neither",
        "CredentialsInvalid",
        "create the Secret that spec.build.srcRepo.credentials names, of type kubernetes.io/basic-auth",
    ),
    (
        "credentials of the registry",
        "CredentialsInvalid",
        "create the Secret that spec.build.srcRepo.credentials names, of type kubernetes.io/dockerconfigjson",
    ),
    ("leads out of the", "SourceInvalid", "make the bundle anew without such links"),
    ("outside the source", "SourceInvalid", REMAKE),
    ("no file, folder or link", "SourceInvalid", REMAKE),
    ("too large", "SourceTooLarge", "leave out of the bundle what is not source"),
    ("manifest unknown", "BundleNotFound", BUNDLE),
    ("image manifest not found", "BundleNotFound", BUNDLE),
    ("not authorized", "RegistryUnauthorized", PULL),
    ("authentication failure", "RegistryUnauthorized", PULL),
    ("unauthorized", "RegistryUnauthorized", PULL),
    (
        "Host key verification failed",
        "GitHostKeyUnknown",
        "put the server's key into known_hosts of the Secret that spec.build.srcRepo.credentials names",
    ),
    ("no such revision", "GitRevisionNotFound", "check spec.build.srcRepo.revision"),
    ("could not read Username", "GitAuthenticationFailed", CREDENTIALS),
    ("Authentication failed", "GitAuthenticationFailed", CREDENTIALS),
    ("Permission denied", "GitAuthenticationFailed", CREDENTIALS),
    ("not found", "GitRepositoryNotFound", "check spec.build.srcRepo.url"),
    ("does not appear to be a git repository", "GitRepositoryNotFound", "check spec.build.srcRepo.url"),
    ("Could not resolve host", "GitUnreachable", REACH),
    ("Failed to connect", "GitUnreachable", REACH),
    ("Couldn't connect", "GitUnreachable", REACH),
    ("Could not connect", "GitUnreachable", REACH),
    ("Connection refused", "GitUnreachable", REACH),
    ("timed out", "GitUnreachable", REACH),
];
const PUSH_MISSING: Known = (
    "the push credentials are missing",
    "CredentialsInvalid",
    "create the Secret that spec.imageCredentials names, of type kubernetes.io/dockerconfigjson",
);
const REMAKE: &str = "make the bundle anew, for example by build-helper bundle";
const BUNDLE: &str = "check spec.build.srcRepo.bundleContainer.image";
const PULL: &str =
    "name a Secret of type kubernetes.io/dockerconfigjson that may pull the bundle in spec.build.srcRepo.credentials";
const CREDENTIALS: &str =
    "check that the repository exists, and name a Secret that may read it in spec.build.srcRepo.credentials";
const REACH: &str = "check spec.build.srcRepo.url, and that the cluster reaches that server";

const OF_STEPS: &[Known] = &[
    PUSH_MISSING,
    (
        "leads out of the source",
        "SourceInvalid",
        "check spec.build.dockerfile, spec.build.srcRepo.sourceSubPath and symbolic links in the source",
    ),
    ("failed to resolve source metadata", "BaseImageNotFound", "check the images in the FROM lines of the Dockerfile"),
    (
        "no buildpack groups passed detection",
        "NoBuildpack",
        "no buildpack of the builder image takes this source: check spec.build.builder, spec.build.env and spec.build.srcRepo.sourceSubPath",
    ),
    ("no builder image", "BuilderMissing", "name an image with buildpacks in spec.build.builder"),
    (
        "must be NAME=value",
        "InvalidParameters",
        "check spec.build.env and parameter ENV_VARS of spec.build.shipwright.params",
    ),
    ("error resolving dockerfile path", "DockerfileNotFound", DOCKERFILE),
    ("error checking push permissions", "RegistryUnauthorized", REGISTRY),
    ("failed to ensure registry", "RegistryUnauthorized", REGISTRY),
    ("authentication required", "RegistryUnauthorized", REGISTRY),
    ("no Dockerfile", "DockerfileNotFound", DOCKERFILE),
    ("the source has no directory", "SourceDirectoryNotFound", "check spec.build.srcRepo.sourceSubPath"),
    ("did not complete successfully", "InstructionFailed", INSTRUCTION),
    ("while running runtime", "InstructionFailed", INSTRUCTION),
    ("failed to execute command", "InstructionFailed", INSTRUCTION),
    ("401 Unauthorized", "RegistryUnauthorized", REGISTRY),
    ("403 Forbidden", "RegistryUnauthorized", REGISTRY),
    ("authorization failed", "RegistryUnauthorized", REGISTRY),
    ("insufficient_scope", "RegistryUnauthorized", REGISTRY),
    ("dockerfile parse error", "DockerfileInvalid", "correct the Dockerfile"),
    (
        "server gave HTTP response to HTTPS client",
        "RegistryInsecure",
        "the registry speaks plain HTTP: the installation must list it (builder-controller.build.insecureRegistries)",
    ),
];
const INSTRUCTION: &str = "a RUN instruction of the Dockerfile failed; its output is in the log";
const DOCKERFILE: &str = "check spec.build.dockerfile and spec.build.srcRepo.sourceSubPath";
const REGISTRY: &str =
    "name a Secret of type kubernetes.io/dockerconfigjson that may push there in spec.imageCredentials";

const OF_PODS: &[Known] = &[
    ("OOMKilled", "OutOfMemory", "give the build more memory in spec.build.resources"),
    (
        "ImagePullBackOff",
        "ImagePullBackOff",
        "check the image of the step (spec.build.builder), and spec.build.builderCredentials",
    ),
    ("InvalidImageName", "InvalidImageName", "correct the image of the step (spec.build.builder)"),
    ("CreateContainerConfigError", "CreateContainerConfigError", "check that the Secrets which the build names exist"),
    ("Evicted", "Evicted", "the node was short of something; build again"),
];

/// What the API server says of a pod that it does not take, with what to do.
pub fn with_hint(message: String) -> String {
    match message.contains("violates PodSecurity") {
        true => format!(
            "{message}; choose a strategy that needs less (ko and openfunction need no privileges, kaniko and buildah those of root), or label the namespace pod-security.kubernetes.io/enforce"
        ),
        false => message,
    }
}

/// Reason and details of a failed step.
pub fn explain(failed: &Failed) -> (String, BuildFailure) {
    let known = if failed.container == SOURCE_STEP { OF_SOURCE } else { OF_STEPS };
    let by_pod = failed.reason.as_ref().and_then(|reason| OF_PODS.iter().find(|(word, ..)| word == reason));
    // Tools write the same words in different letters.
    let log = failed.log_tail.to_lowercase();
    let found = by_pod.or_else(|| known.iter().find(|(text, ..)| log.contains(&text.to_lowercase())));
    let reason = match (found, &failed.reason) {
        (Some((_, reason, _)), _) => (*reason).to_owned(),
        (None, Some(reason)) if reason != "Completed" => reason.clone(),
        (None, _) => STEP_FAILED.to_owned(),
    };
    let how = match failed.exit_code {
        Some(code) => format!("step {} failed with exit code {code}", failed.step()),
        None => format!("step {} cannot run", failed.step()),
    };
    let said =
        failed.log_tail.lines().rev().find(|line| !line.trim().is_empty()).map(|line| format!(": {}", line.trim()));
    let hint = found.map_or("its last lines are in the status of the Builder", |(.., hint)| hint);
    let details = BuildFailure {
        step: failed.step().to_owned(),
        exit_code: failed.exit_code,
        message: Some(format!("{how}{}; {hint}", said.unwrap_or_default())),
        log_tail: Some(tail(&failed.log_tail)).filter(|tail| !tail.is_empty()),
    };
    (reason, details)
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<_> = log.trim_end().lines().collect();
    let tail = lines[lines.len().saturating_sub(LINES)..].join("\n");
    let begin = tail.len().saturating_sub(BYTES);
    tail[tail.ceil_char_boundary(begin)..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(step: &str, log: &str) -> (String, String) {
        let failed = Failed { container: step.to_owned(), exit_code: Some(1), reason: None, log_tail: log.to_owned() };
        let (reason, details) = explain(&failed);
        (reason, details.message.unwrap())
    }

    #[test]
    fn usual_failures_have_a_reason_and_a_hint() {
        for (step, log, reason, hint) in [
            ("source", "fatal: repository 'http://git/x.git/' not found", "GitRepositoryNotFound", "srcRepo.url"),
            (
                "source",
                "fatal: could not read Username for 'http://git'",
                "GitAuthenticationFailed",
                "srcRepo.credentials",
            ),
            (
                "source",
                "fatal: unable to access 'http://nowhere/': Could not resolve host: nowhere",
                "GitUnreachable",
                "reaches that server",
            ),
            ("source", "error: no such revision: v9", "GitRevisionNotFound", "srcRepo.revision"),
            (
                "build",
                "error: no Dockerfile: the built directory of the source has no file D",
                "DockerfileNotFound",
                "spec.build.dockerfile",
            ),
            (
                "build",
                "x\nerror: failed to solve: process \"/bin/sh -c false\" did not complete successfully: exit code: 1",
                "InstructionFailed",
                "RUN instruction",
            ),
            ("build", "push: unexpected status: 401 Unauthorized", "RegistryUnauthorized", "imageCredentials"),
            ("build", "something else", "StepFailed", "its last lines"),
        ] {
            let (found, message) = explained(step, log);
            assert_eq!(found, reason, "{log}");
            assert!(message.contains(log.lines().last().unwrap()) && message.contains(hint), "{message}");
        }
    }

    #[test]
    fn the_tail_of_a_log_is_short() {
        let log: String = (0..50).map(|line| format!("line {line}\n")).collect();
        assert_eq!((tail(&log).lines().count(), tail(&log).lines().last()), (20, Some("line 49")));
        assert_eq!(tail(&"ä".repeat(5000)).len(), BYTES);
    }
}
