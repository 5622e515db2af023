//! Manifests of projects that are built with ko: an image is named there by the Go package of its program.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{go::Programs, image::Image, local::registry::OPEN};

/// The image of a program of a part, without registry.
pub fn name(part: &Programs, program: &str) -> String {
    format!("{}/{program}:{}", part.name, part.version)
}

/// The image of a program, where ko puts it: others call it by that path.
///
/// # Errors
/// A build that fails.
pub fn image(part: &Programs, program: &str) -> Result<Image> {
    let built = part.built()?.join(program);
    Ok(Image::of_program_at(name(part, program), &built, format!("/ko-app/{program}")))
}

/// The images of all programs of a part.
///
/// # Errors
/// A build that fails.
pub fn images(part: &Programs) -> Result<Vec<Image>> {
    let programs = part.packages.iter().map(|package| package.rsplit('/').next().unwrap_or(package));
    programs.map(|program| image(part, program)).collect()
}

/// Objects with packages (`ko://PACKAGES/PROGRAM`) replaced by our images.
///
/// # Errors
/// None in practice: what was JSON still is.
pub fn resolved(part: &Programs, objects: Vec<Value>) -> Result<Vec<Value>> {
    let first = part.packages.first().context("a part has programs")?;
    let packages = first.rsplit_once('/').map_or(*first, |(packages, _)| packages);
    let text = Value::Array(objects).to_string();
    let prefix = format!("ko://{packages}/");
    let mut pieces = text.split(&prefix);
    let mut resolved = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(piece.len());
        resolved += &format!("{OPEN}/{}{}", name(part, &piece[..end]), &piece[end..]);
    }
    Ok(serde_json::from_str(&resolved)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn packages_become_images_also_within_arguments() {
        let part =
            Programs { name: "p", module: "m", version: "v1", packages: &["example.com/p/cmd/one"], variables: &[] };
        let objects = vec![
            json!({"image": "ko://example.com/p/cmd/one", "args": ["ko://example.com/p/cmd/two-b", "ko://other/x"]}),
        ];
        let wanted =
            json!({"image": format!("{OPEN}/p/one:v1"), "args": [format!("{OPEN}/p/two-b:v1"), "ko://other/x"]});
        assert_eq!(resolved(&part, objects).unwrap(), [wanted]);
    }
}
