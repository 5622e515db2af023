//! Which of many tags is followed.

use openfunction_proto::core::TagPolicy;
use regex::{Regex, RegexBuilder};
use semver::{Version, VersionReq};

/// Largest program of a regular expression.
const MAX_PROGRAM: usize = 1 << 20;
/// Images whose times are compared, at most.
pub const MAX_DATED: usize = 50;

/// A policy that was looked at.
#[derive(Debug)]
pub enum Rule {
    /// The highest version of a range.
    Version(VersionReq),
    /// The last one of those that match.
    Last {
        /// What must match; the first group is compared.
        pattern: Option<Regex>,
        /// Whether numbers count by their value.
        by_number: bool,
    },
    /// The newest image of those that match.
    Newest(Option<Regex>),
}

impl Rule {
    /// Looks at a policy.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn new(policy: &TagPolicy) -> Result<Self, String> {
        if let Some(range) = &policy.semver {
            let range = range.parse().map_err(|error| {
                format!("tagPolicy.semver: Invalid value: {range:?}: must be a range such as \">=1.2, <2\": {error}")
            })?;
            return Ok(Self::Version(range));
        }
        let compiled = |pattern: &String| {
            let compiled = RegexBuilder::new(pattern).size_limit(MAX_PROGRAM).build();
            compiled.map_err(|error| {
                let why = error.to_string();
                let why = why.lines().last().unwrap_or_default().trim().to_owned();
                format!("tagPolicy.regex: Invalid value: {pattern:?}: {why}")
            })
        };
        let pattern = policy.regex.as_ref().map(compiled).transpose()?;
        Ok(match policy.order.as_deref() {
            Some("Newest") => Self::Newest(pattern),
            order => Self::Last { pattern, by_number: order != Some("Alphabetical") },
        })
    }

    /// The tag that is followed; of images by their time, those that are to be asked.
    pub fn chosen<'a>(&self, tags: impl Iterator<Item = &'a str>) -> Chosen<'a> {
        match self {
            Self::Version(range) => {
                let version = |tag: &'a str| {
                    let text = tag.strip_prefix(['v', 'V']).unwrap_or(tag);
                    Version::parse(text).ok().filter(|version| range.matches(version)).map(|version| (version, tag))
                };
                Chosen::One(tags.filter_map(version).max().map(|(_, tag)| tag))
            }
            Self::Last { pattern, by_number } => {
                let key = |tag: &'a str| Some((compared(pattern.as_ref(), tag)?, tag));
                let order = |(a, _): &(&str, &str), (b, _): &(&str, &str)| match by_number {
                    true => natural(a).cmp(&natural(b)),
                    false => a.cmp(b),
                };
                Chosen::One(tags.filter_map(key).max_by(order).map(|(_, tag)| tag))
            }
            Self::Newest(pattern) => Chosen::Of(tags.filter(|tag| compared(pattern.as_ref(), tag).is_some()).collect()),
        }
    }
}

/// What a rule makes of tags.
#[derive(Debug, PartialEq)]
pub enum Chosen<'a> {
    /// The tag, if there is one.
    One(Option<&'a str>),
    /// The newest image of these.
    Of(Vec<&'a str>),
}

fn compared<'a>(pattern: Option<&Regex>, tag: &'a str) -> Option<&'a str> {
    let Some(pattern) = pattern else { return Some(tag) };
    let found = pattern.captures(tag)?;
    found
        .get(1)
        .or_else(|| found.get(0))
        .map(|found| found.as_str())
        .map(|part| if part.is_empty() { tag } else { part })
}

/// A text with its numbers as numbers: those of more digits are larger.
fn natural(text: &str) -> Vec<(bool, usize, &str)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_digit = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != is_digit).unwrap_or(rest.len());
        let (part, next) = rest.split_at(end);
        let part = if is_digit { part.trim_start_matches('0') } else { part };
        parts.push((is_digit, if is_digit { part.len() } else { 0 }, part));
        rest = next;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(semver: Option<&str>, regex: Option<&str>, order: Option<&str>) -> TagPolicy {
        let text = |text: Option<&str>| text.map(str::to_owned);
        TagPolicy { semver: text(semver), regex: text(regex), order: text(order) }
    }

    fn one<'a>(policy: &TagPolicy, tags: &[&'a str]) -> Option<&'a str> {
        match Rule::new(policy).unwrap().chosen(tags.iter().copied()) {
            Chosen::One(tag) => tag,
            Chosen::Of(tags) => panic!("{tags:?}"),
        }
    }

    #[test]
    fn rv21_the_highest_version_of_a_range_is_followed() {
        let tags = ["v1.2.0", "1.10.0", "latest", "v2.0.0", "1.11.0-rc.1", "1.9"];
        for (range, expected) in [
            (">=1.2, <2", Some("1.10.0")),
            ("~1.2", Some("v1.2.0")),
            (">=1", Some("v2.0.0")),
            (">=1.11.0-rc.0, <1.12", Some("1.11.0-rc.1")),
            ("3", None),
        ] {
            assert_eq!(one(&policy(Some(range), None, None), &tags), expected, "{range}");
        }
    }

    #[test]
    fn rv21_the_last_tag_that_matches_is_followed() {
        let tags = ["main-9", "main-10", "main-0010a", "dev-99", "other"];
        assert_eq!(one(&policy(None, Some(r"^main-(\d+)$"), None), &tags), Some("main-10"));
        assert_eq!(one(&policy(None, Some(r"^main-(\d+)$"), Some("Alphabetical")), &tags), Some("main-9"));
        assert_eq!(one(&policy(None, Some("nothing"), None), &tags), None);
        assert_eq!(one(&policy(None, None, None), &["a", "b", "b2"]), Some("b2"));
        let newest = Rule::new(&policy(None, Some("^main"), Some("Newest"))).unwrap();
        assert_eq!(newest.chosen(tags.into_iter()), Chosen::Of(vec!["main-9", "main-10", "main-0010a"]));
    }

    #[test]
    fn what_is_wrong_with_a_policy_is_told() {
        let said = |policy: &TagPolicy| Rule::new(policy).unwrap_err();
        assert!(said(&policy(Some("newest"), None, None)).starts_with("tagPolicy.semver: Invalid value: \"newest\""));
        assert!(
            said(&policy(None, Some("("), None))
                .starts_with("tagPolicy.regex: Invalid value: \"(\": error: unclosed group")
        );
        assert!(said(&policy(None, Some(r"\w{900}{900}"), None)).starts_with("tagPolicy.regex: Invalid value"));
    }
}
