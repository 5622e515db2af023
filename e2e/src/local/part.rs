//! What a part of the cluster is: images, programs outside pods, objects. Parts declare; the driver does.

use std::{fs, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    image::Image,
    local::{
        cluster::Cluster,
        control_plane,
        daemon::{Daemon, Probe},
    },
};

/// A part of the cluster.
pub trait Part: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// What it is, in a line.
    fn about(&self) -> &'static str;

    /// Parts that come with it. They stand before it in [`PARTS`](crate::local::PARTS).
    fn needs(&self) -> &'static [&'static str] {
        &[]
    }

    /// Makes what takes long and is cached: programs, manifests and images.
    ///
    /// # Errors
    /// What cannot be built or downloaded.
    fn prepare(&self, cluster: &Cluster) -> Result<()> {
        self.images()?.iter().try_for_each(Image::make)?;
        self.objects(cluster).map(drop)
    }

    /// Images that its pods, or users, need from the registry.
    ///
    /// # Errors
    /// As [`Part::prepare`].
    fn images(&self) -> Result<Vec<Image>> {
        Ok(Vec::new())
    }

    /// What must be there before its programs are started. Done again by every start.
    ///
    /// # Errors
    /// Files or settings that cannot be written.
    fn before(&self, _cluster: &Cluster) -> Result<()> {
        Ok(())
    }

    /// Its programs outside pods, in the order in which they are started.
    ///
    /// # Errors
    /// As [`Part::prepare`].
    fn daemons(&self, _cluster: &Cluster) -> Result<Vec<Daemon>> {
        Ok(Vec::new())
    }

    /// Its objects.
    ///
    /// # Errors
    /// As [`Part::prepare`].
    fn objects(&self, _cluster: &Cluster) -> Result<Vec<Value>> {
        Ok(Vec::new())
    }

    /// What is done when its workloads are ready.
    ///
    /// # Errors
    /// Requests that fail.
    fn after(&self, _cluster: &Cluster) -> Result<()> {
        Ok(())
    }

    /// What is wrong besides programs and workloads.
    fn problems(&self, _cluster: &Cluster) -> Vec<String> {
        Vec::new()
    }

    /// Time in which it must work after it was started.
    fn patience(&self) -> Duration {
        Duration::from_secs(180)
    }
}

/// The pods' owners among objects, as `namespace/kind/name`.
pub fn workloads(objects: &[Value]) -> Vec<String> {
    let kinds = ["Deployment", "DaemonSet", "StatefulSet"];
    let text =
        |object: &Value, path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or("default").to_owned();
    objects
        .iter()
        .filter(|object| kinds.iter().any(|kind| object["kind"] == *kind))
        .map(|object| {
            format!(
                "{}/{}/{}",
                text(object, "/metadata/namespace"),
                text(object, "/kind"),
                text(object, "/metadata/name")
            )
        })
        .collect()
}

/// Notes that a part was started, and what to look at to see whether it works.
///
/// # Errors
/// A file that cannot be written.
pub fn note_started(part: &dyn Part, cluster: &Cluster, objects: &[Value]) -> Result<()> {
    fs::create_dir_all(cluster.path("parts"))?;
    Ok(fs::write(cluster.path("parts").join(part.name()), json!(workloads(objects)).to_string())?)
}

/// What the cluster's workloads look like, read once for all parts; none if the API server does not answer.
#[derive(Debug)]
pub struct Workloads(Option<Vec<Value>>);

impl Workloads {
    /// Reads them.
    pub fn read(cluster: &Cluster) -> Self {
        if Probe::ApiServer(cluster.clone()).answers().is_err() {
            return Self(None);
        }
        // A second for each of the three: one that waits for etcd in vain must not take long.
        let list = cluster.get(&["deployments,daemonsets,statefulsets", "--all-namespaces"], 1);
        Self(list.ok().and_then(|list| list["items"].as_array().cloned()))
    }

    /// Why a workload is not ready.
    fn problem(&self, name: &str) -> Option<String> {
        let named =
            |object: &&Value| workloads(std::slice::from_ref(object)).first().is_some_and(|found| found == name);
        let Some(object) = self.0.iter().flatten().find(named) else { return Some(format!("{name} is not there")) };
        let number = |path: &str| object.pointer(path).and_then(Value::as_i64);
        let daemon_set = object["kind"] == "DaemonSet";
        let wanted =
            if daemon_set { number("/status/desiredNumberScheduled") } else { number("/spec/replicas") }.unwrap_or(0);
        let field = |name: &str| number(&format!("/status/{name}")).unwrap_or(0);
        let (ready, updated) = if daemon_set {
            (field("numberReady"), field("updatedNumberScheduled"))
        } else {
            (field("readyReplicas"), field("updatedReplicas"))
        };
        let seen = number("/status/observedGeneration") == number("/metadata/generation");
        let works = seen && ready >= wanted && updated >= wanted && (wanted > 0 || !daemon_set);
        (!works).then(|| format!("{name}: {ready} of {wanted} ready"))
    }
}

/// Why a part's programs and pods do not work; nothing if they do.
pub fn outages(part: &dyn Part, cluster: &Cluster, workloads: &Workloads) -> Vec<String> {
    let Ok(noted) = fs::read(cluster.path("parts").join(part.name())) else { return vec!["not started".to_owned()] };
    let daemons = match part.daemons(cluster) {
        Ok(daemons) => daemons,
        Err(error) => return vec![format!("{error:#}")],
    };
    let daemons = daemons.iter().filter_map(|daemon| cluster.daemons().problem(daemon.name, &daemon.probe));
    let mut found: Vec<_> = daemons.collect();
    let names: Vec<String> = serde_json::from_slice(&noted).unwrap_or_default();
    if workloads.0.is_some() {
        found.extend(names.iter().filter_map(|name| workloads.problem(name)));
    } else if !names.is_empty() {
        found.push("the API server does not answer".to_owned());
    }
    found
}

/// Why a part does not work; nothing if it does.
pub fn problems(part: &dyn Part, cluster: &Cluster, workloads: &Workloads) -> Vec<String> {
    let outages = outages(part, cluster, workloads);
    // Without an API server, which is a problem of its own part, every further question would wait in vain.
    let can_ask = workloads.0.is_some() && control_plane::runs(cluster);
    if outages.is_empty() && can_ask { part.problems(cluster) } else { outages }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(ready: i64, updated: i64) -> Value {
        json!({"kind": "Deployment", "metadata": {"namespace": "n", "name": "d", "generation": 2}, "spec": {"replicas": 1},
            "status": {"observedGeneration": 2, "readyReplicas": ready, "updatedReplicas": updated}})
    }

    #[test]
    fn a_workload_works_when_all_its_pods_are_ready_and_new() {
        let problem = |object| Workloads(Some(vec![object])).problem("n/Deployment/d");
        assert_eq!(problem(deployment(1, 1)), None);
        assert_eq!(problem(deployment(0, 1)).unwrap(), "n/Deployment/d: 0 of 1 ready");
        assert!(problem(deployment(1, 0)).is_some());
        let mut unseen = deployment(1, 1);
        unseen["metadata"]["generation"] = json!(3);
        assert!(problem(unseen).is_some());
        assert_eq!(Workloads(Some(Vec::new())).problem("n/Deployment/d").unwrap(), "n/Deployment/d is not there");
    }
}
