//! The refs of a git repository, by `ls-refs` of protocol v2 (gitprotocol-v2), without a clone.

pub mod http;
pub mod ssh;

use std::collections::BTreeMap;

use crate::problem::{NOT_FOUND, Problem, UNEXPECTED};

/// Refs of a repository.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Refs {
    names: BTreeMap<String, String>,
    /// The commits that annotated tags stand for.
    peeled: BTreeMap<String, String>,
}

/// A packet of the protocol (gitprotocol-common: pkt-line).
#[derive(Debug, Eq, PartialEq)]
enum Packet<'a> {
    Data(&'a [u8]),
    /// Ends a message.
    Flush,
    /// Parts a message, or ends a response.
    Mark,
}

/// What a server says of itself before it is asked.
#[derive(Debug, Eq, PartialEq)]
enum Advertisement {
    /// It can be asked for refs.
    V2(Capabilities),
    /// It speaks an older protocol and has told all its refs.
    Older(Refs),
}

/// What a server of protocol v2 can do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Capabilities {
    /// The hash that it uses, if it says so.
    object_format: Option<String>,
}

impl Refs {
    /// The commit of a branch, a tag, a ref with its full name, or of the default branch, whose name is empty.
    pub fn commit(&self, revision: &str) -> Option<&str> {
        let names = candidates(revision);
        let commit = |name: &String| self.peeled.get(name).or_else(|| self.names.get(name));
        names.iter().find_map(commit).map(String::as_str)
    }

    /// Tags, with their commits.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        self.names.iter().filter_map(|(name, commit)| {
            let tag = name.strip_prefix("refs/tags/")?;
            Some((tag, self.peeled.get(name).unwrap_or(commit).as_str()))
        })
    }
}

/// Full names that a revision may have, as the build looks for them.
fn candidates(revision: &str) -> Vec<String> {
    match revision {
        "" | "HEAD" => vec!["HEAD".to_owned()],
        _ => vec![format!("refs/heads/{revision}"), format!("refs/tags/{revision}"), revision.to_owned()],
    }
}

/// What the refs begin with that some revisions may have.
pub fn prefixes<'a>(revisions: impl Iterator<Item = &'a str>, with_tags: bool) -> Vec<String> {
    let mut prefixes: Vec<_> = revisions.flat_map(candidates).collect();
    prefixes.extend(with_tags.then(|| "refs/tags/".to_owned()));
    prefixes.sort();
    prefixes.dedup();
    prefixes
}

fn packet(line: &str) -> String {
    format!("{:04x}{line}", line.len() + 4)
}

/// Asks for refs.
fn request(capabilities: &Capabilities, prefixes: &[String]) -> String {
    let mut request = packet("command=ls-refs\n");
    request += &packet(concat!("agent=openfunction/", env!("CARGO_PKG_VERSION"), "\n"));
    if let Some(format) = &capabilities.object_format {
        request += &packet(&format!("object-format={format}\n"));
    }
    request += "0001";
    request += &packet("peel\n");
    for prefix in prefixes {
        request += &packet(&format!("ref-prefix {prefix}\n"));
    }
    request + "0000"
}

fn malformed() -> Problem {
    Problem::new(UNEXPECTED, "the answer is none of a git server")
}

/// Splits a packet off the front.
fn next(bytes: &[u8]) -> Result<(Packet<'_>, &[u8]), Problem> {
    let length = bytes.get(..4).and_then(|head| std::str::from_utf8(head).ok());
    let length = length.and_then(|head| usize::from_str_radix(head, 16).ok()).ok_or_else(malformed)?;
    match length {
        0 => Ok((Packet::Flush, &bytes[4..])),
        1 | 2 => Ok((Packet::Mark, &bytes[4..])),
        3 => Err(malformed()),
        _ => Ok((Packet::Data(bytes.get(4..length).ok_or_else(malformed)?), &bytes[length..])),
    }
}

/// The lines of a message, up to its end.
fn lines(mut bytes: &[u8]) -> Result<(Vec<&str>, &[u8]), Problem> {
    let mut lines = Vec::new();
    loop {
        let (packet, rest) = next(bytes)?;
        bytes = rest;
        match packet {
            Packet::Flush => return Ok((lines, rest)),
            Packet::Mark => {}
            Packet::Data(line) => {
                let line = std::str::from_utf8(line).map_err(|_| malformed())?.trim_end_matches('\n');
                if let Some(said) = line.strip_prefix("ERR ") {
                    let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
                    return Err(Problem::new(NOT_FOUND, format!("the git server says: {said}")));
                }
                lines.push(line);
            }
        }
    }
}

/// Reads what a server says of itself.
fn advertisement(bytes: &[u8]) -> Result<Advertisement, Problem> {
    let (mut found, mut rest) = lines(bytes)?;
    // Smart HTTP says first which service it is.
    if found.first().is_some_and(|line| line.starts_with("# service=")) {
        if found.len() == 1 {
            (found, rest) = lines(rest)?;
        } else {
            found.remove(0);
        }
    }
    let _ = rest;
    if found.first() == Some(&"version 2") {
        let format = found.iter().find_map(|line| line.strip_prefix("object-format="));
        return Ok(Advertisement::V2(Capabilities { object_format: format.map(str::to_owned) }));
    }
    let mut refs = Refs::default();
    for line in found.into_iter().filter(|line| *line != "version 1") {
        // The first one has the capabilities behind it.
        let line = line.split('\0').next().unwrap_or_default();
        let (commit, name) = line.split_once(' ').filter(|(commit, _)| is_commit(commit)).ok_or_else(malformed)?;
        match name.strip_suffix("^{}") {
            // An empty repository has this line alone.
            Some("capabilities") => {}
            Some(tag) => drop(refs.peeled.insert(tag.to_owned(), commit.to_owned())),
            None => drop(refs.names.insert(name.to_owned(), commit.to_owned())),
        }
    }
    Ok(Advertisement::Older(refs))
}

/// Reads refs.
fn refs(bytes: &[u8]) -> Result<Refs, Problem> {
    let mut refs = Refs::default();
    for line in lines(bytes)?.0 {
        let mut parts = line.split(' ');
        let (commit, name) = parts.next().zip(parts.next()).ok_or_else(malformed)?;
        if commit == "unborn" {
            continue;
        }
        let peeled = parts.find_map(|part| part.strip_prefix("peeled:"));
        if !is_commit(commit) || peeled.is_some_and(|peeled| !is_commit(peeled)) {
            return Err(malformed());
        }
        refs.peeled.extend(peeled.map(|peeled| (name.to_owned(), peeled.to_owned())));
        refs.names.insert(name.to_owned(), commit.to_owned());
    }
    Ok(refs)
}

/// Whether a text is the whole hash of a commit: of SHA-1, or of SHA-256.
pub fn is_commit(text: &str) -> bool {
    [40, 64].contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn message(lines: &[&str]) -> Vec<u8> {
        (lines.iter().map(|line| packet(line)).collect::<String>() + "0000").into_bytes()
    }

    #[test]
    fn a_revision_is_a_branch_a_tag_or_the_default_branch() {
        let found = refs(&message(&[
            &format!("{A} HEAD symref-target:refs/heads/main\n"),
            &format!("{A} refs/heads/main\n"),
            &format!("{B} refs/heads/v1\n"),
            &format!("{A} refs/tags/v1\n"),
            &format!("{B} refs/tags/v2 peeled:{A}\n"),
            "unborn refs/heads/none\n",
        ]))
        .unwrap();
        for (revision, expected) in [
            ("", Some(A)),
            ("main", Some(A)),
            ("v1", Some(B)),
            ("v2", Some(A)),
            ("refs/tags/v1", Some(A)),
            ("none", None),
        ] {
            assert_eq!(found.commit(revision), expected, "{revision}");
        }
        assert_eq!(found.tags().collect::<Vec<_>>(), [("v1", A), ("v2", A)]);
    }

    #[test]
    fn r07_only_a_whole_hash_is_a_commit() {
        assert!(is_commit(A) && is_commit(&"0".repeat(64)));
        assert!(!["deadbeef", "cafebabe", &"A".repeat(40), ""].iter().any(|text| is_commit(text)));
    }

    #[test]
    fn rv15_servers_of_every_protocol_are_understood() {
        let smart = [message(&["# service=git-upload-pack\n"]), message(&["version 2\n", "object-format=sha256\n"])];
        let v2 = Advertisement::V2(Capabilities { object_format: Some("sha256".to_owned()) });
        assert_eq!(advertisement(&smart.concat()).unwrap(), v2);
        // As some servers send it, without an end between.
        let joined = message(&["# service=git-upload-pack\n", "version 2\n"]);
        assert_eq!(advertisement(&joined).unwrap(), Advertisement::V2(Capabilities::default()));
        let v0 = message(&[
            &format!("{A} HEAD\0multi_ack symref=HEAD:refs/heads/main"),
            &format!("{B} refs/tags/v1"),
            &format!("{A} refs/tags/v1^{{}}"),
        ]);
        let Advertisement::Older(found) = advertisement(&v0).unwrap() else { panic!("it is none of v2") };
        assert_eq!((found.commit(""), found.commit("v1")), (Some(A), Some(A)));
        let empty = message(&[&format!("{} capabilities^{{}}\0multi_ack", "0".repeat(40))]);
        assert_eq!(advertisement(&empty).unwrap(), Advertisement::Older(Refs::default()));
        for bad in [&b"<html>"[..], b"", b"0005", b"0003", &message(&["hello world"])] {
            assert_eq!(advertisement(bad).unwrap_err().reason, UNEXPECTED);
        }
        let denied = advertisement(&message(&["ERR access denied\n"])).unwrap_err();
        assert_eq!(denied.to_string(), "the git server says: access denied");
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (advertisement(&bytes), refs(&bytes));
        }

        #[test]
        fn no_line_panics(lines in prop::collection::vec("\\PC{0,60}", 0..5)) {
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            let _ = (advertisement(&message(&lines)), refs(&message(&lines)));
        }
    }
}
