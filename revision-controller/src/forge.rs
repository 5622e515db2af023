//! The newest commit by the API of a forge: GitHub (also Enterprise), GitLab and Gitee. It tells which commits changed
//! something in a folder, and tokens that may only use the API work.

use std::collections::HashMap;

use http::{HeaderName, Method, header};
use reqwest::Url;
use serde_json::Value;

use crate::{
    credentials::Credential,
    net::Network,
    problem::{INVALID, NOT_FOUND, Problem},
};

/// A kind of forge.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// GitHub, and GitHub Enterprise Server.
    GitHub,
    /// GitLab, and the header that has its token.
    GitLab(TokenHeader),
    /// Gitee.
    Gitee,
}

/// How GitLab gets a token (revision §6.2).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum TokenHeader {
    /// `PRIVATE-TOKEN`.
    Private,
    /// `Authorization: Bearer`.
    Bearer,
    /// `JOB-TOKEN`.
    Job,
}

/// A repository of a forge.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The forge.
    pub kind: Kind,
    /// Where its API is.
    pub api: Url,
    /// `owner/name`, or the number or path of a GitLab project.
    pub project: String,
}

/// What was answered before: asked again, a forge says that nothing has changed, and counts it as no request.
#[derive(Debug, Default)]
pub struct Repository {
    known: HashMap<(String, Option<String>), (String, String)>,
}

impl Place {
    /// A repository by its URL, and the address of a self-hosted forge if it is one.
    ///
    /// # Errors
    /// A URL that does not name one (BUG-R12), or an address that is none.
    pub fn new(kind: Kind, url: &str, base: Option<&str>, project: Option<&str>) -> Result<Self, Problem> {
        let base =
            base.map(|base| Url::parse(base).map_err(|error| not_a_url(base, &error.to_string()))).transpose()?;
        let below = |base: &Url, path: &str| {
            let mut api = base.clone();
            // It is shown.
            let _ = (api.set_username(""), api.set_password(None));
            api.set_query(None);
            api.set_fragment(None);
            api.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
            api
        };
        let api = match (kind, &base) {
            (Kind::GitHub, None) => Url::parse("https://api.github.com"),
            (Kind::Gitee, None) => Url::parse("https://gitee.com/api/v5"),
            (Kind::GitLab(_), None) => Url::parse("https://gitlab.com/api/v4"),
            (Kind::GitHub, Some(base)) => Ok(below(base, "/api/v3")),
            (Kind::Gitee, Some(base)) => Ok(below(base, "/api/v5")),
            (Kind::GitLab(_), Some(base)) => Ok(below(base, "/api/v4")),
        };
        let api = api.map_err(|error| not_a_url("", &error.to_string()))?;
        let project = match project.filter(|_| matches!(kind, Kind::GitLab(_))) {
            Some(project) => project.to_owned(),
            None => path_of(url).filter(|path| path.split('/').count() >= 2).ok_or_else(|| {
                Problem::new(INVALID, "spec.build.srcRepo.url: Invalid value: must name owner and repository")
            })?,
        };
        Ok(Self { kind, api, project })
    }

    fn commits(&self, revision: &str, folder: Option<&str>) -> Url {
        let mut url = self.api.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty();
            match self.kind {
                // A path of a project is one segment, so that its slashes are encoded.
                Kind::GitLab(_) => path.extend(["projects", &self.project, "repository", "commits"]),
                Kind::GitHub | Kind::Gitee => {
                    path.push("repos").extend(self.project.split('/').take(2)).push("commits")
                }
            };
        }
        let name = if matches!(self.kind, Kind::GitLab(_)) { "ref_name" } else { "sha" };
        let mut query = url.query_pairs_mut();
        query.append_pair("per_page", "1");
        // Without one it is the default branch, also after it was renamed.
        if !revision.is_empty() {
            query.append_pair(name, revision);
        }
        if let Some(folder) = folder {
            query.append_pair("path", folder);
        }
        drop(query);
        url
    }

    fn token(&self, password: &str) -> (HeaderName, String) {
        match self.kind {
            Kind::GitLab(TokenHeader::Private) => (HeaderName::from_static("private-token"), password.to_owned()),
            Kind::GitLab(TokenHeader::Job) => (HeaderName::from_static("job-token"), password.to_owned()),
            _ => (header::AUTHORIZATION, format!("Bearer {password}")),
        }
    }
}

fn not_a_url(url: &str, why: &str) -> Problem {
    Problem::new(INVALID, format!("baseURL: Invalid value: {url:?}: {why}"))
}

/// The path of a repository in its URL, of any form, without `.git`.
pub fn path_of(url: &str) -> Option<String> {
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => url.split_once(':')?.1,
    };
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    (!path.is_empty()).then(|| path.to_owned())
}

impl Repository {
    /// The newest commit of a revision; of those that changed something in a folder, if one is given.
    ///
    /// # Errors
    /// What the forge answers.
    pub async fn commit(
        &mut self,
        network: &Network,
        place: &Place,
        credential: &Credential,
        revision: &str,
        folder: Option<&str>,
    ) -> Result<String, Problem> {
        let mut asked = network.request(Method::GET, place.commits(revision, folder), true);
        asked = asked.header(header::ACCEPT, "application/json");
        if let Credential::Password { password, .. } = credential {
            let (name, value) = place.token(password);
            asked = asked.header(name, value);
        }
        let key = (revision.to_owned(), folder.map(str::to_owned));
        if let Some((tag, _)) = self.known.get(&key) {
            asked = asked.header(header::IF_NONE_MATCH, tag);
        }
        let answer = network.send(asked).await?;
        let answer = answer.good("the repository or branch")?;
        if answer.status == http::StatusCode::NOT_MODIFIED {
            let known = self.known.get(&key).map(|(_, commit)| commit.clone());
            return known.ok_or_else(|| Problem::unexpected("the forge says that nothing has changed"));
        }
        let commits: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| Problem::unexpected("the answer is no list of commits"))?;
        let Some(list) = commits.as_array() else {
            return Err(Problem::unexpected("the answer is no list of commits"));
        };
        let Some(first) = list.first() else {
            return Err(Problem::new(NOT_FOUND, "no commit was found"));
        };
        let field = if matches!(place.kind, Kind::GitLab(_)) { "id" } else { "sha" };
        let commit = first[field].as_str().filter(|commit| super::git::is_commit(commit));
        let commit = commit.ok_or_else(|| Problem::unexpected("the answer has no commit"))?.to_owned();
        if let Some(tag) = answer.header("etag") {
            self.known.insert(key, (tag.to_owned(), commit.clone()));
        }
        Ok(commit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rv9_rv10_rv14_every_forge_is_asked_as_its_documents_say() {
        let url = |kind, url, base, project, revision, folder| {
            Place::new(kind, url, base, project).unwrap().commits(revision, folder).to_string()
        };
        let gitlab = Kind::GitLab(TokenHeader::Private);
        assert_eq!(
            url(Kind::GitHub, "https://github.com/acme/a.git", None, None, "", None),
            "https://api.github.com/repos/acme/a/commits?per_page=1"
        );
        assert_eq!(
            url(Kind::GitHub, "git@ghe.example:acme/a.git", Some("https://ghe.example/"), None, "main", Some("fn/a")),
            "https://ghe.example/api/v3/repos/acme/a/commits?per_page=1&sha=main&path=fn%2Fa"
        );
        assert_eq!(
            url(gitlab, "https://g.example/x.git", Some("https://g.example/git"), Some("group/sub/a"), "main", None),
            "https://g.example/git/api/v4/projects/group%2Fsub%2Fa/repository/commits?per_page=1&ref_name=main"
        );
        assert_eq!(
            url(gitlab, "x", Some("https://g.example"), Some("42"), "", None),
            "https://g.example/api/v4/projects/42/repository/commits?per_page=1"
        );
        assert_eq!(
            url(Kind::Gitee, "https://gitee.com/acme/a", None, None, "feature/a b", None),
            "https://gitee.com/api/v5/repos/acme/a/commits?per_page=1&sha=feature%2Fa+b"
        );
    }

    #[test]
    fn r12_a_url_without_owner_or_repository_is_told() {
        for url in ["https://github.com/acme", "https://github.com", "https://github.com/", "acme", ""] {
            let problem = Place::new(Kind::GitHub, url, None, None).unwrap_err();
            assert!(problem.message.contains("must name owner and repository"), "{url}: {problem}");
        }
        assert_eq!(Place::new(Kind::GitHub, "https://a/b/c", Some("nowhere"), None).unwrap_err().reason, INVALID);
    }

    #[test]
    fn rv12_gitlab_gets_its_token_in_the_header_that_is_named() {
        let header = |kind| {
            let place = Place::new(kind, "https://a/b/c", Some("https://a"), Some("1")).unwrap();
            let (name, value) = place.token("t");
            format!("{name}: {value}")
        };
        assert_eq!(header(Kind::GitLab(TokenHeader::Private)), "private-token: t");
        assert_eq!(header(Kind::GitLab(TokenHeader::Job)), "job-token: t");
        assert_eq!(header(Kind::GitLab(TokenHeader::Bearer)), "authorization: Bearer t");
        assert_eq!(header(Kind::GitHub), "authorization: Bearer t");
    }
}
