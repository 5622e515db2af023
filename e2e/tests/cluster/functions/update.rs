//! Another source, under load.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Deployed, GATEWAY, greet, source};
use crate::support::{client, get};

/// Requests in a second while something changes: as many as `PER_SECOND` says, or a number at which neither proxy nor its
/// controller starve beside other tests on two cores.
pub fn pace(usual: u32) -> u32 {
    std::env::var("PER_SECOND").ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

/// Requests at a constant pace, whatever becomes of those before.
pub struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Result<String, String>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    /// `address` is that of a gateway; `usual` is for [`pace`].
    pub fn begin(address: &'static str, host: String, usual: u32) -> Self {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (ended, noted) = (stop.clone(), answers.clone());
        let task = tokio::spawn(async move {
            let (client, began) = (client(), Instant::now());
            let mut pace = tokio::time::interval(Duration::from_secs(1) / pace(usual));
            let mut requests = tokio::task::JoinSet::new();
            while !ended.load(Ordering::SeqCst) {
                pace.tick().await;
                let (client, host, noted) = (client.clone(), host.clone(), noted.clone());
                requests.spawn(async move {
                    let mut answer = get(&client, address, &host).await;
                    // That the proxy itself is not reached says nothing of the function.
                    for _ in 0..10 {
                        if !answer.as_ref().is_err_and(reqwest::Error::is_connect) {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        answer = get(&client, address, &host).await;
                    }
                    let answer = match answer {
                        Ok((200..=299, body)) => Ok(body),
                        Ok((status, body)) => Err(format!("{status} {body:?} after {:?}", began.elapsed())),
                        Err(error) => Err(format!("{error:?} after {:?}", began.elapsed())),
                    };
                    noted.lock().unwrap().push(answer);
                });
            }
            while requests.join_next().await.is_some() {}
        });
        Self { stop, answers, task }
    }

    /// What became of every request, in the order in which that was known.
    pub async fn stop(self) -> Vec<Result<String, String>> {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
        std::mem::take(&mut *self.answers.lock().unwrap())
    }

    /// How many answers there were; panics if one was a failure.
    pub async fn end(self) -> usize {
        let answers = self.stop().await;
        let failed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        assert!(
            failed.is_empty(),
            "{} of {} requests failed: {:.800}",
            failed.len(),
            answers.len(),
            format!("{failed:?}")
        );
        answers.len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rt20_another_source_changes_the_answer_and_no_request_fails() {
    let (mut deployed, work, repository) = Deployed::built("update", "hello-node");
    deployed.is_ready();
    deployed.is_served("/").await;
    let old = deployed.object().pointer("/status/serving/resourceRef").unwrap().as_str().unwrap().to_owned();
    let load = Load::begin(GATEWAY, deployed.external_host(), 50);
    let commit = work.push(&repository, greet("server.js", "Good evening!"));
    let began = Instant::now();
    deployed.change(|manifest| manifest["spec"]["build"]["srcRepo"] = source(&repository, &commit));
    deployed.is_ready();
    let took = began.elapsed();
    assert_eq!(deployed.answer("/").await, (200, "Good evening!".to_owned()));
    deployed.eventually("the old revision is parked", || {
        let suspend = deployed.namespace.kubectl(&["get", "servings", &old, "-o", "jsonpath={.spec.suspend}"]);
        (suspend == "true").then_some(())
    });
    // Its pods end a moment later.
    deployed.eventually("its pods go", || {
        (!deployed.namespace.kubectl(&["get", "pods", "-o", "name"]).contains(&old)).then_some(())
    });
    let requests = load.end().await;
    assert!(requests > 1000, "{requests}");
    println!("from the new revision of the source to the new answer: {took:.1?}; {requests} requests, none failed");
    // The configured bounds reach the running revision in place.
    let before = deployed.object().pointer("/status/serving/resourceRef").cloned();
    deployed
        .change(|manifest| manifest["spec"]["serving"]["scaleOptions"] = json!({"minReplicas": 2, "maxReplicas": 3}));
    deployed.is_ready();
    assert_eq!(deployed.object().pointer("/status/serving/resourceRef").cloned(), before);
    deployed.eventually("two replicas", || {
        let replicas =
            deployed.namespace.kubectl(&["get", "deployments", "-o", "jsonpath={.items[*].status.availableReplicas}"]);
        (replicas == "2").then_some(())
    });
}
