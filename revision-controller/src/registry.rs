//! Digests and tags of images, by the API of registries (OCI distribution).
//!
//! A registry's words lead to other servers: to the one that gives tokens, and to those that have the content. The
//! clients that there are ask them all, whatever their addresses; here each request is guarded ([`crate::net`]).

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use http::{Method, StatusCode, header};
use jiff::Timestamp;
use oci_client::Reference;
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    credentials::Credential,
    net::{Answer, Network},
    problem::{INVALID, NOT_FOUND, Problem, UNAUTHORIZED, UNREACHABLE},
    signature::{self, Key, MAX_SIGNATURES},
};

/// An image's repository in a registry.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The registry, as images name it.
    pub registry: String,
    /// Where its API is.
    pub host: String,
    /// The repository.
    pub repository: String,
    /// Whether plain HTTP and any certificate will do (GAP-R06).
    pub is_insecure: bool,
}

/// A repository that is asked from time to time.
#[derive(Debug, Default)]
pub struct Repository {
    /// The scheme that an insecure registry turned out to have.
    scheme: Option<&'static str>,
    token: Option<Token>,
    /// When images were made, by digest: that never changes.
    made: HashMap<String, Option<Timestamp>>,
    /// Whether images are signed for a key, by both.
    verified: HashMap<(String, String), Result<(), String>>,
}

#[derive(Debug)]
struct Token {
    header: String,
    until: Instant,
}

/// Manifests that are known; an index counts as it is (GAP-R22).
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
/// Tags that are looked at.
const MAX_TAGS: usize = 10_000;
/// Tags of one page.
const PAGE: usize = 1000;
/// How long a token counts that does not say it (Docker's token specification).
const TOKEN: Duration = Duration::from_secs(60);
/// How long a token counts at most.
const MAX_TOKEN: Duration = Duration::from_secs(3600);
/// Images that are remembered.
const MAX_KNOWN: usize = 1000;

impl Place {
    /// The repository of an image, and its tag.
    ///
    /// # Errors
    /// A text that names no image.
    pub fn of(image: &str, is_insecure: bool) -> Result<(Self, Option<String>), Problem> {
        let reference: Reference = image.parse().map_err(|error| {
            Problem::new(INVALID, format!("image: Invalid value: {image:?}: must be the name of an image: {error}"))
        })?;
        let place = Self {
            registry: reference.registry().to_owned(),
            host: reference.resolve_registry().to_owned(),
            repository: reference.repository().to_owned(),
            is_insecure,
        };
        Ok((place, reference.tag().map(str::to_owned).filter(|_| reference.digest().is_none())))
    }

    fn url(&self, scheme: &str, path: &str) -> Result<Url, Problem> {
        let url = format!("{scheme}://{}/v2/{}/{path}", self.host, self.repository);
        Url::parse(&url).map_err(|error| Problem::new(INVALID, format!("image: Invalid value: {url:?}: {error}")))
    }
}

/// What gives tokens says it in such words.
#[derive(Deserialize)]
struct Given {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// One repository of a registry, and what asks it.
pub struct Asking<'a> {
    /// What is known of it.
    pub repository: &'a mut Repository,
    /// What asks.
    pub network: &'a Network,
    /// Where it is.
    pub place: &'a Place,
    /// What it is shown.
    pub credential: &'a Credential,
}

impl Asking<'_> {
    /// The digest that a tag has.
    ///
    /// # Errors
    /// What the registry answers.
    pub async fn digest(&mut self, tag: &str) -> Result<String, Problem> {
        let (path, what) = (format!("manifests/{tag}"), format!("image {}:{tag}", self.place.repository));
        let answer = self.ask(Method::HEAD, &path).await?;
        let told = |answer: &Answer| {
            answer.header("docker-content-digest").filter(|digest| is_digest(digest)).map(str::to_owned)
        };
        if answer.status.is_success()
            && let Some(digest) = told(&answer)
        {
            return Ok(digest);
        }
        // Some answer nothing to HEAD.
        let is_silent = answer.status.is_success() || answer.status == StatusCode::METHOD_NOT_ALLOWED;
        let answer = if is_silent { self.ask(Method::GET, &path).await? } else { answer };
        let answer = answer.good(&what)?;
        Ok(told(&answer).unwrap_or_else(|| sha256(&answer.body)))
    }

    /// All tags.
    ///
    /// # Errors
    /// What the registry answers, or more tags than are looked at.
    pub async fn tags(&mut self) -> Result<Vec<String>, Problem> {
        let mut tags = Vec::new();
        let mut page = format!("tags/list?n={PAGE}");
        loop {
            let answer = self.ask(Method::GET, &page).await?.good(&format!("image {}", self.place.repository))?;
            let list: Value = json(&answer)?;
            let found = list["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
            tags.extend(found.map(str::to_owned));
            // `Link: </v2/…/tags/list?n=…&last=…>; rel="next"` (RFC 8288)
            let next = answer.header("link").filter(|link| link.contains("rel=\"next\""));
            let next = next.and_then(|link| link.split_once('?')?.1.split('>').next().map(str::to_owned));
            match next {
                Some(query) if tags.len() < MAX_TAGS => page = format!("tags/list?{query}"),
                Some(_) => return Err(Problem::unexpected(format!("more than {MAX_TAGS} tags"))),
                None => return Ok(tags),
            }
        }
    }

    /// When an image was made, if it says so.
    ///
    /// # Errors
    /// What the registry answers.
    pub async fn made(&mut self, digest: &str) -> Result<Option<Timestamp>, Problem> {
        if let Some(made) = self.repository.made.get(digest) {
            return Ok(*made);
        }
        let mut manifest = self.manifest(digest).await?;
        // Of an index, its first image.
        if let Some(first) = manifest["manifests"][0]["digest"].as_str().map(str::to_owned) {
            manifest = self.manifest(&first).await?;
        }
        let made = match manifest["config"]["digest"].as_str() {
            Some(config) => {
                let config: Value = json(&self.blob(config).await?)?;
                config["created"].as_str().and_then(|made| made.parse().ok())
            }
            None => None,
        };
        if self.repository.made.len() >= MAX_KNOWN {
            self.repository.made.clear();
        }
        self.repository.made.insert(digest.to_owned(), made);
        Ok(made)
    }

    /// Whether an image is signed for a key; why not, if it is not.
    ///
    /// # Errors
    /// What the registry answers.
    pub async fn verify(&mut self, digest: &str, pem: &str) -> Result<Result<(), String>, Problem> {
        let known = (digest.to_owned(), pem.to_owned());
        if self.repository.verified.get(&known) == Some(&Ok(())) {
            return Ok(Ok(()));
        }
        let verdict = self.signed(digest, &Key::parse(pem).map_err(|why| Problem::new(INVALID, why))?).await?;
        if self.repository.verified.len() >= MAX_KNOWN {
            self.repository.verified.clear();
        }
        self.repository.verified.insert(known, verdict.clone());
        Ok(verdict)
    }

    async fn signed(&mut self, digest: &str, key: &Key) -> Result<Result<(), String>, Problem> {
        let signatures = match self.manifest(&signature::tag(digest)).await {
            Err(problem) if problem.reason == NOT_FOUND => return Ok(Err("the image is not signed".to_owned())),
            other => other?,
        };
        for layer in signatures["layers"].as_array().into_iter().flatten().take(MAX_SIGNATURES) {
            let signature = layer["annotations"][signature::ANNOTATION].as_str();
            let Some((content, signature)) = layer["digest"].as_str().zip(signature) else { continue };
            let payload = self.blob(content).await?.body;
            if sha256(&payload) == *content && key.verifies(&payload, signature, digest) {
                return Ok(Ok(()));
            }
        }
        Ok(Err("no signature of the image is for publicKey".to_owned()))
    }

    async fn manifest(&mut self, reference: &str) -> Result<Value, Problem> {
        let answer = self.ask(Method::GET, &format!("manifests/{reference}")).await?;
        json(&answer.good(&format!("manifest {reference} of {}", self.place.repository))?)
    }

    async fn blob(&mut self, digest: &str) -> Result<Answer, Problem> {
        if !is_digest(digest) {
            return Err(Problem::unexpected("a manifest with a digest that is none"));
        }
        self.ask(Method::GET, &format!("blobs/{digest}")).await?.good("content of an image")
    }

    /// Asks the registry, with a token of it if it wants one.
    async fn ask(&mut self, method: Method, path: &str) -> Result<Answer, Problem> {
        let answer = self.ask_once(method.clone(), path).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        self.repository.token = None;
        // Another server, which a redirection led to, says nothing of how this one is asked.
        let is_of_registry = answer.url.origin() == self.place.url(answer.url.scheme(), path)?.origin();
        if !is_of_registry || !self.introduce(&answer).await? {
            return Ok(answer);
        }
        self.ask_once(method, path).await
    }

    async fn ask_once(&mut self, method: Method, path: &str) -> Result<Answer, Problem> {
        let schemes: &[&'static str] = match (self.place.is_insecure, self.repository.scheme) {
            (false, _) => &["https"],
            (true, Some("http")) => &["http", "https"],
            (true, _) => &["https", "http"],
        };
        let mut refused = Problem::new(UNREACHABLE, "the registry does not answer");
        for scheme in schemes {
            let url = self.place.url(scheme, path)?;
            let mut asked = self.network.request(method.clone(), url, !self.place.is_insecure);
            asked = asked.header(header::ACCEPT, MANIFESTS);
            self.repository.token = self.repository.token.take().filter(|token| token.until > Instant::now());
            if let Some(token) = &self.repository.token {
                asked = asked.header(header::AUTHORIZATION, &token.header);
            }
            match self.network.send(asked).await {
                Ok(answer) => {
                    self.repository.scheme = Some(scheme);
                    return Ok(answer);
                }
                Err(problem) if problem.reason == UNREACHABLE => refused = problem,
                Err(problem) => return Err(problem),
            }
        }
        Err(refused)
    }

    /// Does what the registry asks for: shows the credential, or gets a token with it. Whether there is something new to
    /// show.
    async fn introduce(&mut self, answer: &Answer) -> Result<bool, Problem> {
        let pair = self.credential.for_registry(&self.place.registry, &self.place.repository);
        let asked = answer.header("www-authenticate").unwrap_or_default();
        let challenges = http_auth::parse_challenges(asked).unwrap_or_default();
        for challenge in challenges {
            let param = |name: &str| {
                let param = challenge.params.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                param.map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                let Some((user, password)) = pair else { return Ok(false) };
                let header = format!(
                    "Basic {}",
                    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{user}:{password}"))
                );
                self.repository.token = Some(Token { header, until: Instant::now() + MAX_TOKEN });
                return Ok(true);
            }
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let realm = param("realm").and_then(|realm| Url::parse(&realm).ok());
                let mut realm =
                    realm.ok_or_else(|| Problem::unexpected("the registry does not say who gives tokens"))?;
                if realm.scheme() != "https" && !self.place.is_insecure {
                    return Err(Problem::new(UNAUTHORIZED, "the registry wants its password sent by plain HTTP"));
                }
                let scope = format!("repository:{}:pull", self.place.repository);
                realm.query_pairs_mut().append_pair("scope", &scope);
                if let Some(service) = param("service") {
                    realm.query_pairs_mut().append_pair("service", &service);
                }
                let mut asked = self.network.request(Method::GET, realm, !self.place.is_insecure);
                if let Some((user, password)) = pair {
                    asked = asked.basic_auth(user, Some(password));
                }
                let given: Given = json(&self.network.send(asked).await?.good("a token for the image")?)?;
                let token = given.token.or(given.access_token);
                let token = token.ok_or_else(|| Problem::unexpected("the registry gives no token"))?;
                // It must not end on the way.
                let lasts = given
                    .expires_in
                    .map_or(TOKEN, Duration::from_secs)
                    .min(MAX_TOKEN)
                    .saturating_sub(Duration::from_secs(5));
                self.repository.token =
                    Some(Token { header: format!("Bearer {token}"), until: Instant::now() + lasts });
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn json<T: for<'a> Deserialize<'a>>(answer: &Answer) -> Result<T, Problem> {
    serde_json::from_slice(&answer.body)
        .map_err(|_| Problem::unexpected("the registry's answer is not what it should be"))
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hash}")
}

/// Whether a text is a digest (OCI image specification).
pub fn is_digest(text: &str) -> bool {
    let Some((algorithm, hash)) = text.split_once(':') else { return false };
    !algorithm.is_empty()
        && algorithm.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+._-".contains(c))
        && (32..=128).contains(&hash.len())
        && hash.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_where_docker_finds_it() {
        let of = |image: &str| {
            let (place, tag) = Place::of(image, false).unwrap();
            (place.registry.clone(), place.url("https", "x").unwrap().to_string(), tag)
        };
        let tag = |tag: &str| Some(tag.to_owned());
        assert_eq!(
            of("nginx"),
            ("docker.io".to_owned(), "https://index.docker.io/v2/library/nginx/x".to_owned(), tag("latest"))
        );
        assert_eq!(of("reg:5000/a/b:v1"), ("reg:5000".to_owned(), "https://reg:5000/v2/a/b/x".to_owned(), tag("v1")));
        let pinned = format!("reg/a:v1@sha256:{}", "a".repeat(64));
        assert_eq!(of(&pinned).2, None, "it never changes");
        assert_eq!(Place::of("A B", false).unwrap_err().reason, INVALID);
    }

    #[test]
    fn a_digest_is_a_hash_and_no_path() {
        assert!(is_digest(&format!("sha256:{}", "a".repeat(64))));
        assert!(!["", "sha256:", "sha256:../../x", "a".repeat(64).as_str()].iter().any(|text| is_digest(text)));
    }
}
