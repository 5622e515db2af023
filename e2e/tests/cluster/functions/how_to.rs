//! What docs/how-to says is done, step by step: the commands of each `sh` block in one shell, and what they print at the end
//! where a `text` block follows.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use e2e::{cache::run, product::helm};

use super::{product, product_alone};
use crate::support::Namespace;

/// A block of commands, and what they print in the end.
type Step = (String, Option<String>);

fn steps(document: &str) -> Vec<Step> {
    let path = e2e::root().join("docs/how-to").join(document);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut steps: Vec<Step> = Vec::new();
    for (kind, body) in blocks(&text) {
        match kind.as_str() {
            "sh" => steps.push((body, None)),
            "text" => steps.last_mut().expect("commands come first").1 = Some(body),
            _ => {}
        }
    }
    steps
}

/// Language and text of each fenced block, also of those in lists.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some((indent, kind)) = line.split_once("```").filter(|(indent, _)| indent.trim().is_empty()) {
            let body = lines.by_ref().take_while(|line| line.trim() != "```");
            let body: Vec<_> = body.map(|line| line.strip_prefix(indent).unwrap_or(line)).collect();
            blocks.push((kind.to_owned(), body.join("\n")));
        }
    }
    blocks
}

/// Follows a document in a namespace of its own, which stands for `default`.
fn follow(document: &str) {
    let namespace = Namespace::new(&document.replace(".md", ""));
    let compared = play(document, &namespace, |commands| commands.replace("default", &namespace.name));
    assert!(compared > 0, "{document} shows nothing that could be compared");
}

/// Runs what a document says, with the namespace as that of kubectl, after changing its commands. How many outputs were
/// compared with the document's, which calls the namespace `default`.
pub fn play(document: &str, namespace: &Namespace, change: impl Fn(&str) -> String) -> usize {
    let steps = steps(document);
    let folder = std::env::temp_dir().join(&namespace.name);
    std::fs::create_dir(&folder).unwrap();
    let kubeconfig = folder.join("kubeconfig");
    std::fs::copy(namespace.cluster.kubeconfig(), &kubeconfig).unwrap();
    for name in ["docs", "deploy"] {
        std::os::unix::fs::symlink(e2e::root().join(name), folder.join(name)).unwrap();
    }
    let mut context = namespace.cluster.kubectl();
    context.args(["config", "set-context", "--current", "--namespace", &namespace.name]).env("KUBECONFIG", &kubeconfig);
    run(&mut context).unwrap();
    let mut script = String::from("set -euo pipefail\n");
    for (index, (commands, _)) in steps.iter().enumerate() {
        script.push_str(&format!("{{\n{}\n}} > {index}.out\n", change(commands)));
    }
    let helm = helm(&kubeconfig, namespace.cluster.folder()).unwrap();
    let folders = [&context, &helm].map(|program| Path::new(program.get_program()).parent().unwrap().to_owned());
    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&path))).unwrap();
    let mut shell = Command::new("bash");
    shell.args(["-xc", &script]).current_dir(&folder).env("PATH", path);
    shell.envs(helm.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = shell.stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{document}: {said}");
    let mut compared = 0;
    for (index, (commands, expected)) in steps.iter().enumerate() {
        let Some(expected) = expected else { continue };
        let printed = std::fs::read_to_string(folder.join(format!("{index}.out"))).unwrap();
        let printed = printed.replace(&namespace.name, "default");
        assert!(
            printed.trim_end().ends_with(expected.trim_end()),
            "{document}: {commands}\nprinted\n{printed}\nnot\n{expected}"
        );
        compared += 1;
    }
    std::fs::remove_dir_all(folder).unwrap();
    compared
}

#[test]
fn fn29_fn30_revisions_are_tried_split_and_gone_back_to_as_docs_how_to_revisions_says() {
    let _installed = product();
    follow("revisions.md");
}

#[test]
fn ep1_ep2_a_function_is_called_as_docs_how_to_addresses_says() {
    let _installed = product();
    follow("addresses.md");
}

/// The domain of all functions changes meanwhile.
#[test]
fn ep3_ep6_the_domain_is_changed_as_docs_how_to_dns_says() {
    let _installed = product_alone();
    follow("dns.md");
}

#[test]
fn rt21_a_function_gets_a_certificate_as_docs_how_to_tls_says() {
    let _installed = product();
    follow("tls.md");
}
