//! Refs over HTTP: what a server can do is asked for once, then a look is one request.

use http::{Method, header};
use reqwest::{RequestBuilder, Url};

use super::{Advertisement, Capabilities, Refs, advertisement, refs, request};
use crate::{
    credentials::Credential,
    net::{Network, is_same_server},
    problem::{Problem, UNREACHABLE},
};

/// A repository behind HTTP.
#[derive(Debug, Default)]
pub struct Repository {
    /// Where it is, after redirections, and what its server can do.
    known: Option<(Url, Capabilities)>,
}

/// User of a token that comes without one: forges take any.
const ANYBODY: &str = "oauth2";

impl Repository {
    /// Asks for refs.
    ///
    /// # Errors
    /// A server that does not answer, or answers something else.
    pub async fn look(
        &mut self,
        network: &Network,
        url: &Url,
        credential: &Credential,
        prefixes: &[String],
    ) -> Result<Refs, Problem> {
        if let Some((base, capabilities)) = &self.known {
            let found = ask(network, base, capabilities, shown_to(url, base, credential), prefixes).await;
            // It may be another server, or one that has moved.
            if !matches!(&found, Err(problem) if problem.retry_after.is_none() && problem.reason != UNREACHABLE) {
                return found;
            }
            self.known = None;
        }
        let mut service = below(url, "info/refs");
        service.set_query(Some("service=git-upload-pack"));
        let asked = network.request(Method::GET, service, true).header("git-protocol", "version=2");
        let answer = network.send(with(asked, credential)).await?.good("the repository")?;
        match advertisement(&answer.body)? {
            Advertisement::Older(refs) => Ok(refs),
            Advertisement::V2(capabilities) => {
                let mut base = answer.url;
                base.set_query(None);
                let path = base.path().strip_suffix("/info/refs").unwrap_or_else(|| url.path()).to_owned();
                base.set_path(&path);
                let found = ask(network, &base, &capabilities, shown_to(url, &base, credential), prefixes).await?;
                self.known = Some((base, capabilities));
                Ok(found)
            }
        }
    }
}

/// What a repository is shown that is elsewhere than it was said to be.
fn shown_to<'a>(url: &Url, base: &Url, credential: &'a Credential) -> &'a Credential {
    if is_same_server(url, base) { credential } else { &Credential::None }
}

async fn ask(
    network: &Network,
    base: &Url,
    capabilities: &Capabilities,
    credential: &Credential,
    prefixes: &[String],
) -> Result<Refs, Problem> {
    let asked = network
        .request(Method::POST, below(base, "git-upload-pack"), true)
        .header("git-protocol", "version=2")
        .header(header::CONTENT_TYPE, "application/x-git-upload-pack-request")
        .header(header::ACCEPT, "application/x-git-upload-pack-result")
        .body(request(capabilities, prefixes));
    refs(&network.send(with(asked, credential)).await?.good("the repository")?.body)
}

fn with(request: RequestBuilder, credential: &Credential) -> RequestBuilder {
    match credential {
        Credential::Password { user, password } => {
            request.basic_auth(user.as_deref().unwrap_or(ANYBODY), Some(password))
        }
        _ => request,
    }
}

fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}
