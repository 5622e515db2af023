//! What a user can do about a failure, by its reason (goals FN26). `docs/reference/function-status.md` lists the same.

/// Field of the Function that is most likely at fault, and what to do about it.
pub struct Hint {
    /// Path in the Function; none if it is none of its fields.
    pub field: Option<&'static str>,
    /// A sentence.
    pub hint: &'static str,
}

const HINTS: &[(&[&str], Option<&str>, &str)] = &[
    (
        &["GitUnreachable", "GitRepositoryNotFound", "GitRevisionNotFound", "GitAuthenticationFailed"],
        Some("spec.build.srcRepo"),
        "check url, revision and credentials of the source",
    ),
    (&["DockerfileNotFound"], Some("spec.build.dockerfile"), "check its path within the source"),
    (
        &["SourceDirectoryNotFound"],
        Some("spec.build.srcRepo.sourceSubPath"),
        "check that the source has this directory",
    ),
    (&["InstructionFailed"], None, "read status.failure.logTail of the Builder"),
    (
        &["RegistryUnauthorized", "CredentialsInvalid"],
        Some("spec.imageCredentials"),
        "check that the Secret holds credentials that may push to the registry of spec.image",
    ),
    (&["RegistryInsecure"], Some("spec.image"), "list a registry with plain HTTP in the values of the chart"),
    (&["BaseImageNotFound", "DockerfileInvalid"], Some("spec.build.dockerfile"), "check its FROM lines and syntax"),
    (
        &["StrategyNotFound", "InvalidStrategy", "InvalidParameters"],
        Some("spec.build.shipwright"),
        "check the name and parameters of the strategy",
    ),
    (
        &["ErrImagePull", "ImagePullBackOff", "InvalidImageName"],
        Some("spec.image"),
        "check that the image exists and that spec.imageCredentials may pull it",
    ),
    (&["CrashLoopBackOff", "Error"], None, "the program ends: kubectl logs --previous shows what it wrote"),
    (
        &["OOMKilled", "OutOfMemory"],
        Some("spec.serving.template"),
        "raise resources.limits.memory of container function",
    ),
    (
        &["CreateContainerConfigError"],
        Some("spec.serving.template"),
        "create the ConfigMap or Secret that the template names",
    ),
    (
        &["Unschedulable"],
        Some("spec.serving.template"),
        "lower the resources that it asks for, or check nodeSelector and tolerations",
    ),
    (
        &["EngineUnavailable"],
        Some("spec.serving.triggers.http.engine"),
        "install what the engine needs, or choose another",
    ),
    (
        &["GatewayMissing", "GatewayRequired"],
        Some("spec.serving.triggers.http.route.gatewayRef"),
        "make the OpenFunction Gateway, or name one that exists",
    ),
    (
        &["RouteConflict"],
        Some("spec.serving.triggers.http.route"),
        "choose another hostname or path; it goes on by itself when the other Function goes",
    ),
    (
        &["NoListener"],
        Some("spec.serving.triggers.http.route.hostnames"),
        "add a listener for the hostname to the Gateway, or its namespace to allowedRoutes",
    ),
    (&["RouteNotObserved"], None, "check that gateway-controller is installed and running"),
    (&["SplitUnsupported"], Some("spec.serving.traffic"), "send all requests to one revision, or choose engine native"),
    (
        &["RevisionNotFound", "InvalidTraffic"],
        Some("spec.serving.traffic"),
        "name a revision that exists: kubectl get servings",
    ),
    (&["NotOwned"], None, "rename or delete the object that has the name"),
    (&["InvalidName"], None, "give the Function a name that can be that of a Service"),
];

/// The hint for a reason.
pub fn of(reason: &str) -> Option<Hint> {
    let (_, field, hint) = HINTS.iter().find(|(reasons, ..)| reasons.contains(&reason))?;
    Some(Hint { field: *field, hint })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_with_a_hint_is_in_the_reference() {
        let reference = include_str!("../../docs/reference/function-status.md");
        for reason in HINTS.iter().flat_map(|(reasons, ..)| *reasons) {
            assert!(reference.contains(&format!("`{reason}`")), "{reason}");
        }
        assert!(of("RouteConflict").is_some() && of("Nothing").is_none());
    }
}
