//! Several revisions of a Function, under load: another one, a split, a rollback, one that fails.

use std::{collections::BTreeMap, time::Instant};

use futures::{StreamExt, stream};
use serde_json::json;

use super::{
    Deployed, GATEWAY,
    engines::{page, says},
    update::{Load, pace},
};
use crate::support::{DEADLINE, client, get};

/// Requests in a second while something changes.
const PER_SECOND: u32 = 50;

/// Requests that are counted while they are split: the share of 10 % deviates by more than 3 % in one of 20 million counts.
const COUNTED: usize = 3_000;
/// How many of them at the same time. More are too many for the small server that answers.
const AT_ONCE: usize = 4;

impl Deployed {
    fn revision(&self) -> String {
        self.object().pointer("/status/serving/resourceRef").unwrap().as_str().unwrap().to_owned()
    }

    /// Sends requests to revisions, and waits until the proxy does so: until the answers are these.
    async fn sends(&mut self, traffic: serde_json::Value, answers: &[&str]) {
        let wanted: Vec<_> = traffic.as_array().unwrap().iter().map(|t| t["percent"].as_i64().unwrap_or(0)).collect();
        self.change(|manifest| manifest["spec"]["serving"]["traffic"] = traffic);
        self.is_ready();
        self.eventually("requests go where they shall", || {
            let traffic = self.object().pointer("/status/traffic")?.as_array()?.clone();
            traffic.iter().map(|target| target["percent"].as_i64()).eq(wanted.iter().map(|p| Some(*p))).then_some(())
        });
        self.is_ready();
        // That the route is accepted does not mean that the proxy has it already.
        let began = Instant::now();
        // A tenth is missing from so many answers in one of 40,000 rounds.
        while self.answers(100).await.keys().ne(answers) {
            assert!(began.elapsed() < DEADLINE, "the proxy does not send requests where they shall go");
        }
    }

    /// How often each answer comes.
    async fn answers(&self, count: usize) -> BTreeMap<String, usize> {
        let (client, host) = (client(), self.external_host());
        let asked = stream::iter(0..count).map(|_| get(&client, GATEWAY, &host)).buffer_unordered(AT_ONCE);
        let mut answers = BTreeMap::new();
        for (status, body) in asked.map(Result::unwrap).collect::<Vec<_>>().await {
            assert_eq!(status, 200, "{body}");
            *answers.entry(body).or_default() += 1;
        }
        answers
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fn27_to_fn30_revisions_change_are_split_and_gone_back_to_and_no_request_fails() {
    let mut deployed = Deployed::new("revisions", page("native", "one"));
    deployed.is_ready();
    deployed.is_served("/").await;
    let one = deployed.revision();
    let load = Load::begin(GATEWAY, deployed.external_host(), PER_SECOND);

    deployed.change(|manifest| says(manifest, "two"));
    deployed.is_ready();
    let two = deployed.revision();
    assert_ne!(one, two);
    deployed.sends(json!([{"revision": one, "percent": 90}, {"latest": true, "percent": 10}]), &["one", "two"]).await;
    let answers = deployed.answers(COUNTED).await;
    let share = answers["one"] as f64 / COUNTED as f64;
    println!("90/10: {answers:?}");
    assert!((0.87..=0.93).contains(&share), "{answers:?}");

    // All of it back to the first one; the other can be tried under its tag.
    deployed.sends(json!([{"revision": one, "percent": 100}, {"latest": true, "tag": "next"}]), &["one"]).await;
    assert_eq!(deployed.answers(200).await, BTreeMap::from([("one".to_owned(), 200)]));
    let tagged = deployed.eventually("the tag has an address", || {
        let addresses = deployed.object().pointer("/status/route/tags/0/addresses")?.clone();
        Some(addresses[0]["value"].as_str()?.to_owned())
    });
    let host = tagged.trim_start_matches("http://").trim_end_matches('/').to_owned();
    crate::gateway::until_served(&client(), GATEWAY, &host).await;
    assert_eq!(get(&client(), GATEWAY, &host).await.unwrap(), (200, "two".to_owned()));

    // One that never runs changes nothing, however it is asked for.
    deployed.change(|manifest| {
        manifest["spec"]["image"] = json!("registry.ofn.local:5000/nothing:here");
        manifest["spec"]["serving"]["traffic"] = json!([{"latest": true, "percent": 100}]);
    });
    deployed.eventually("it fails", || (deployed.condition("Ready")["status"] == "False").then_some(()));
    assert_eq!(deployed.answers(200).await, BTreeMap::from([("one".to_owned(), 200)]));

    // What was there before is met again.
    let image = page("native", "two").pointer("/spec/image").unwrap().clone();
    deployed.change(|manifest| manifest["spec"]["image"] = image);
    deployed.sends(json!([{"latest": true, "percent": 100}]), &["two"]).await;
    assert_eq!(deployed.revision(), two);
    assert_eq!(deployed.answers(200).await, BTreeMap::from([("two".to_owned(), 200)]));
    let requests = load.end().await;
    println!("{requests} requests at {}/s, none failed", pace(PER_SECOND));
}
