//! Templates of hostnames and paths (networking §4.3): the grammar of Go's `text/template`, as far as a name can need
//! it. Fields, text and numbers, pipelines, the comparing and printing functions, `if` with its branches, trim markers
//! and comments are understood; anything else is refused with its position.

mod parse;

use parse::{Node, Operand, Pipeline};

/// Puts fields in their places.
///
/// # Errors
/// What is not understood, or cannot be worked out, with its position (the first byte is 1). As in Go, a field that does
/// not exist is one only where it is asked for.
pub fn render(template: &str, fields: &[(&str, &str)]) -> Result<String, String> {
    let nodes = parse::parse(template)?;
    let mut rendered = String::new();
    write(&nodes, fields, &mut rendered)?;
    Ok(rendered)
}

/// What a part of a template gives.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(String),
    Number(i64),
    Truth(bool),
}

impl Value {
    /// What `if` makes of it.
    fn is_true(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Number(number) => *number != 0,
            Self::Truth(truth) => *truth,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Number(_) => "a number",
            Self::Truth(_) => "true or false",
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => formatter.write_str(text),
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Truth(truth) => write!(formatter, "{truth}"),
        }
    }
}

type Fields<'a> = &'a [(&'a str, &'a str)];

fn write(nodes: &[Node], fields: Fields<'_>, rendered: &mut String) -> Result<(), String> {
    for node in nodes {
        match node {
            Node::Text(text) => rendered.push_str(text),
            Node::Output(pipeline) => rendered.push_str(&value(pipeline, fields)?.to_string()),
            Node::If { branches, otherwise } => {
                let mut chosen = otherwise;
                for (condition, nodes) in branches {
                    if value(condition, fields)?.is_true() {
                        chosen = nodes;
                        break;
                    }
                }
                write(chosen, fields, rendered)?;
            }
        }
    }
    Ok(())
}

/// The value of a pipeline: what a command gives is the last argument of the next one.
fn value(pipeline: &Pipeline, fields: Fields<'_>) -> Result<Value, String> {
    let mut piped: Option<Value> = None;
    for command in &pipeline.0 {
        let mut arguments = Vec::new();
        for (at, operand) in &command.operands {
            arguments.push(match operand {
                Operand::Field(name) => field(*at, name, fields)?,
                Operand::Value(value) => value.clone(),
                Operand::Pipeline(inner) => value(inner, fields)?,
            });
        }
        arguments.extend(piped.take());
        piped = Some(match &command.function {
            Some(name) => call(name, &arguments).map_err(|error| format!("at {}: {name}: {error}", command.at))?,
            None if arguments.len() > 1 => {
                return Err(format!("at {}: {} is no function", command.at, arguments[0].kind()));
            }
            None => arguments.remove(0),
        });
    }
    piped.ok_or_else(|| "a pipeline is empty".to_owned())
}

fn field(at: usize, name: &str, fields: Fields<'_>) -> Result<Value, String> {
    let found = fields.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| Value::Text((*value).to_owned())).ok_or_else(|| {
        let known: Vec<_> = fields.iter().map(|(known, _)| format!(".{known}")).collect();
        format!("at {at}: .{name} is not known, only {}", known.join(", "))
    })
}

/// The functions of Go's templates that are understood.
const FUNCTIONS: &[&str] =
    &["and", "eq", "ge", "gt", "index", "le", "len", "lt", "ne", "not", "or", "print", "printf", "println", "slice"];

fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let one = || match arguments {
        [one] => Ok(one),
        _ => Err(format!("it takes 1 argument, not {}", arguments.len())),
    };
    let compared = || match arguments {
        [Value::Text(a), Value::Text(b)] => Ok(a.cmp(b)),
        [Value::Number(a), Value::Number(b)] => Ok(a.cmp(b)),
        [a, b] => Err(format!("{} and {} cannot be compared", a.kind(), b.kind())),
        _ => Err(format!("it takes 2 arguments, not {}", arguments.len())),
    };
    let is = |wanted: &[std::cmp::Ordering]| Ok(Value::Truth(wanted.contains(&compared()?)));
    match name {
        "eq" => match arguments {
            [first, others @ ..] if !others.is_empty() => {
                if let Some(other) = others.iter().find(|other| other.kind() != first.kind()) {
                    return Err(format!("{} and {} cannot be compared", first.kind(), other.kind()));
                }
                Ok(Value::Truth(others.contains(first)))
            }
            _ => Err("it takes 2 arguments or more".to_owned()),
        },
        "ne" => match call("eq", arguments)? {
            Value::Truth(is_equal) if arguments.len() == 2 => Ok(Value::Truth(!is_equal)),
            _ => Err(format!("it takes 2 arguments, not {}", arguments.len())),
        },
        "lt" => is(&[Less]),
        "le" => is(&[Less, Equal]),
        "gt" => is(&[Greater]),
        "ge" => is(&[Greater, Equal]),
        "not" => Ok(Value::Truth(!one()?.is_true())),
        // The first that decides, else the last.
        "and" | "or" => {
            let decides = |value: &&Value| value.is_true() == (name == "or");
            let chosen = arguments.iter().find(decides).or(arguments.last());
            chosen.cloned().ok_or_else(|| "it takes 1 argument or more".to_owned())
        }
        "len" => match one()? {
            Value::Text(text) => Ok(Value::Number(i64::try_from(text.len()).unwrap_or(i64::MAX))),
            other => Err(format!("{} has no length", other.kind())),
        },
        "index" => match arguments {
            [Value::Text(text), Value::Number(index)] => {
                let byte = usize::try_from(*index).ok().and_then(|index| text.as_bytes().get(index));
                byte.map(|byte| Value::Number(i64::from(*byte))).ok_or_else(|| format!("{index} is out of {text:?}"))
            }
            _ => Err("it takes a text and a number".to_owned()),
        },
        "slice" => {
            let (Some(Value::Text(text)), bounds) = (arguments.first(), arguments.get(1..).unwrap_or_default()) else {
                return Err("it takes a text and up to 2 numbers".to_owned());
            };
            let bound = |index: usize, default: usize| match bounds.get(index) {
                None => Ok(default),
                Some(Value::Number(number)) => usize::try_from(*number).map_err(|_| format!("{number} is negative")),
                Some(other) => Err(format!("{} is no bound", other.kind())),
            };
            let (from, to) = (bound(0, 0)?, bound(1, text.len())?);
            let part = text.get(from..to).filter(|_| bounds.len() <= 2);
            part.map(|part| Value::Text(part.to_owned())).ok_or_else(|| format!("{from} to {to} is out of {text:?}"))
        }
        "print" => Ok(Value::Text(printed(arguments))),
        "println" => {
            let words: Vec<_> = arguments.iter().map(ToString::to_string).collect();
            Ok(Value::Text(words.join(" ") + "\n"))
        }
        "printf" => match arguments {
            [Value::Text(format), arguments @ ..] => formatted(format, arguments).map(Value::Text),
            _ => Err("its first argument must be a format".to_owned()),
        },
        _ => Err(format!("it is not known, only {}", FUNCTIONS.join(", "))),
    }
}

/// As Go's `Sprint`: a blank stands between two that are no texts.
fn printed(arguments: &[Value]) -> String {
    let mut text = String::new();
    for (index, argument) in arguments.iter().enumerate() {
        let is_text = |value: &Value| matches!(value, Value::Text(_));
        if index > 0 && !is_text(argument) && !is_text(&arguments[index - 1]) {
            text.push(' ');
        }
        text.push_str(&argument.to_string());
    }
    text
}

/// As Go's `Sprintf`, for the verbs that a name can need.
fn formatted(format: &str, arguments: &[Value]) -> Result<String, String> {
    let (mut text, mut left) = (String::new(), arguments.iter());
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let verb = characters.next().ok_or("the format ends after %")?;
        if verb == '%' {
            text.push('%');
            continue;
        }
        let argument = left.next().ok_or_else(|| format!("nothing is left for %{verb}"))?;
        match (verb, argument) {
            ('v', _) | ('s', Value::Text(_)) | ('d', Value::Number(_)) | ('t', Value::Truth(_)) => {
                text.push_str(&argument.to_string());
            }
            ('q', Value::Text(argument)) => text.push_str(&format!("{argument:?}")),
            ('x', Value::Number(number)) => text.push_str(&format!("{number:x}")),
            ('c', Value::Number(number)) => {
                let character = u32::try_from(*number).ok().and_then(char::from_u32);
                text.push(character.ok_or_else(|| format!("{number} is no character"))?);
            }
            _ => {
                return Err(format!(
                    "%{verb} does not print {}, only %v, %s, %d, %t, %q, %x, %c and %%",
                    argument.kind()
                ));
            }
        }
    }
    match left.count() {
        0 => Ok(text),
        more => Err(format!("{more} arguments more than the format has verbs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[(&str, &str)] = &[("Name", "f"), ("Namespace", "n"), ("Domain", "d.io")];

    /// What `text/template` of Go 1.26 prints for the same templates.
    #[test]
    fn templates_are_rendered_as_go_renders_them() {
        for (template, expected) in [
            ("{{.Name}}.{{.Namespace}}.{{.Domain}}", "f.n.d.io"),
            ("{{ .Name }}-{{ .Namespace }}.{{ .Domain }}", "f-n.d.io"),
            ("  {{- .Name -}}  .x", "f.x"),
            ("{{.Name -}} .x", "f.x"),
            ("{{- .Name}}", "f"),
            ("", ""),
            ("plain", "plain"),
            ("a{{/* a comment */}}b", "ab"),
            ("a {{- /* a comment */ -}} b", "ab"),
            (r#"{{printf "%s-%s" .Name .Namespace}}.{{.Domain}}"#, "f-n.d.io"),
            (r#"{{printf "%s%%-%d-%v" .Name 3 true}}"#, "f%-3-true"),
            (r#"{{.Name | printf "%s-%s" .Namespace}}"#, "n-f"),
            (r#"{{.Name | printf "%s-%s" .Namespace | len}}"#, "3"),
            (
                r#"{{if eq .Namespace "default"}}{{.Name}}{{else}}{{.Name}}-{{.Namespace}}{{end}}.{{.Domain}}"#,
                "f-n.d.io",
            ),
            (r#"{{if eq .Namespace "default" "n"}}yes{{end}}"#, "yes"),
            (r#"{{if ne .Namespace "n"}}a{{else if gt (len .Domain) 3}}b{{else}}c{{end}}"#, "b"),
            ("{{if eq .Namespace `default`}}x{{end}}y", "y"),
            ("{{if false}}{{.Foo}}{{end}}{{.Name}}", "f"),
            ("{{if not .Name}}x{{else}}y{{end}}", "y"),
            (r#"{{if and .Name (eq .Domain "d.io")}}x{{end}}"#, "x"),
            (r#"{{or "" .Name}}"#, "f"),
            ("{{index .Domain 0}}", "100"),
            (r#"{{printf "%c" (index .Domain 0)}}"#, "d"),
            ("{{slice .Domain 0 1}}{{slice .Domain 2}}", "dio"),
            (r#"{{print .Name "-" .Namespace 1 2}}"#, "f-n1 2"),
            (r#"{{"a\"b\\"}}"#, r#"a"b\"#),
            (r#"{{"}}"}}"#, "}}"),
            ("{{-3}}", "-3"),
            ("a {{- -3}}", "a-3"),
            ("{{if 1}}{{if 0}}x{{else}}y{{end}}{{end}}", "y"),
            ("}}", "}}"),
        ] {
            assert_eq!(render(template, FIELDS).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn n39_what_is_not_understood_is_refused_with_its_position() {
        for (template, position, word) in [
            ("a.{{Name}}", "at 5:", "Name"),
            ("{{.Foo}}", "at 3:", ".Foo is not known, only .Name, .Namespace, .Domain"),
            ("{{.Name.First}}", "at 3:", "has no fields"),
            ("{{.}}", "at 3:", "a field"),
            ("{{.Name", "at 1:", "}}"),
            ("{{}}", "at 3:", "nothing"),
            ("{{range .Name}}{{end}}", "at 3:", "range"),
            ("{{with .Name}}{{end}}", "at 3:", "with"),
            (r#"{{template "x"}}"#, "at 3:", "template"),
            ("{{$x := .Name}}", "at 3:", "$"),
            ("{{if .Name}}x", "at 1:", "end"),
            ("{{end}}", "at 3:", "end"),
            ("{{else}}", "at 3:", "else"),
            ("{{if .Name}}{{else}}{{else}}{{end}}", "at 23:", "else"),
            (r#"{{printf "%z" .Name}}"#, "at 3:", "%z"),
            (r#"{{printf "%d" .Name}}"#, "at 3:", "%d"),
            (r#"{{printf "%s"}}"#, "at 3:", "%s"),
            (r#"{{"open}}"#, "at 3:", "quote"),
            ("{{.Name | }}", "at 11:", "nothing"),
            ("{{(.Name}}", "at 3:", ")"),
            ("{{.Name)}}", "at 8:", ")"),
            ("{{.Name 1}}", "at 3:", "no function"),
            ("{{eq .Name 1}}", "at 3:", "cannot be compared"),
            ("{{index .Name 7}}", "at 3:", "out of"),
            ("{{1.5}}", "at 3:", "1.5"),
            ("{{if}}x{{end}}", "at 5:", "nothing"),
            ("{{.Name | .Domain}}", "at 11:", "no function"),
        ] {
            let error = render(template, FIELDS).expect_err(template);
            assert!(error.starts_with(position) && error.contains(word), "{template}: {error}");
        }
    }

    #[test]
    fn no_template_makes_it_panic() {
        let pieces = [
            "{{", "}}", "{{- ", " -}}", ".Name", "if ", "else", "end", "printf ", "\"%s\"", "\"", "`", "(", ")", "|",
            " ", "-", "7", "é", "$", "/*", "*/", "len ", ".",
        ];
        let mut state = 7_u64;
        for _ in 0..20_000 {
            let mut template = String::new();
            for _ in 0..(state % 12) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                template.push_str(pieces[(state >> 33) as usize % pieces.len()]);
            }
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let _ = render(&template, FIELDS);
        }
    }
}
