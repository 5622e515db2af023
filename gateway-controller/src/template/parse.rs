//! From the text of a template to what is to be done.

use super::{FUNCTIONS, Value};

/// A piece of a template.
#[derive(Debug)]
pub enum Node {
    Text(String),
    Output(Pipeline),
    If { branches: Vec<(Pipeline, Vec<Node>)>, otherwise: Vec<Node> },
}

/// Commands, each of which gets what the one before it gives.
#[derive(Debug)]
pub struct Pipeline(pub Vec<Command>);

/// A function with its arguments, or one operand alone.
#[derive(Debug)]
pub struct Command {
    pub at: usize,
    pub function: Option<String>,
    pub operands: Vec<(usize, Operand)>,
}

#[derive(Debug)]
pub enum Operand {
    Field(String),
    Value(Value),
    Pipeline(Pipeline),
}

/// A word of an action.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    Field(String),
    Word(String),
    Value(Value),
    Open,
    Close,
    Pipe,
}

/// What stands between two actions, and the actions.
enum Piece {
    Text(String),
    Action { begin: usize, end: usize, tokens: Vec<(usize, Token)> },
}

/// Parses a template.
///
/// # Errors
/// What is not understood, with its position.
pub fn parse(template: &str) -> Result<Vec<Node>, String> {
    let mut pieces = split(template)?.into_iter();
    match block(&mut pieces)? {
        (nodes, None) => Ok(nodes),
        (_, Some(End { at, tokens, .. })) => {
            let word =
                if matches!(tokens.first(), Some((_, Token::Word(word))) if word == "else") { "else" } else { "end" };
            Err(format!("at {at}: `{word}` without `if`"))
        }
    }
}

/// Cuts a template into text and actions, and trims the text where it is asked for.
fn split(template: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let (mut from, mut trims) = (0, false);
    while let Some(begin) = template[from..].find("{{").map(|found| from + found) {
        let inner = begin + 2;
        let trims_before =
            template[inner..].strip_prefix('-').is_some_and(|rest| rest.starts_with(char::is_whitespace));
        let text = trimmed(&template[from..begin], trims, trims_before);
        pieces.push(Piece::Text(text));
        let (tokens, end, trims_after) = action(template, begin, inner + usize::from(trims_before))?;
        if let Some(tokens) = tokens {
            pieces.push(Piece::Action { begin: begin + 1, end, tokens });
        }
        (from, trims) = (end, trims_after);
    }
    pieces.push(Piece::Text(trimmed(&template[from..], trims, false)));
    Ok(pieces)
}

fn trimmed(text: &str, before: bool, after: bool) -> String {
    let text = if before { text.trim_start() } else { text };
    if after { text.trim_end() } else { text }.to_owned()
}

/// An action: its words, where the text goes on, whether that is trimmed at its beginning.
type Action = (Option<Vec<(usize, Token)>>, usize, bool);

/// Reads an action that begins at `begin`, from `at` on. A comment has no words.
fn action(template: &str, begin: usize, mut at: usize) -> Result<Action, String> {
    let open = || format!("at {}: `{{{{` without `}}}}`", begin + 1);
    let skipped = |at: usize| at + (template[at..].len() - template[at..].trim_start().len());
    if template[skipped(at)..].starts_with("/*") {
        let body = skipped(at) + 2;
        let end = body + template[body..].find("*/").ok_or_else(open)? + 2;
        return closed(template, end)
            .map(|(end, trims)| (None, end, trims))
            .ok_or_else(|| format!("at {}: a comment must be alone in its action", begin + 1));
    }
    let mut tokens = Vec::new();
    loop {
        if let Some((end, trims)) = closed(template, at) {
            return Ok((Some(tokens), end, trims));
        }
        at = skipped(at);
        if let Some((end, trims)) = closed(template, at) {
            return Ok((Some(tokens), end, trims));
        }
        if at >= template.len() {
            return Err(open());
        }
        let (token, length) = token(&template[at..]).map_err(|error| format!("at {}: {error}", at + 1))?;
        tokens.push((at + 1, token));
        at += length;
    }
}

/// Whether an action ends here; then where the text goes on, and whether it is trimmed.
fn closed(template: &str, at: usize) -> Option<(usize, bool)> {
    let rest = &template[at..];
    if rest.starts_with("}}") {
        return Some((at + 2, false));
    }
    let blank = rest.len() - rest.trim_start().len();
    (blank > 0 && rest[blank..].starts_with("-}}")).then_some((at + blank + 3, true))
}

/// The first word of a text, and its length.
fn token(rest: &str) -> Result<(Token, usize), String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let word_length = |text: &str| text.find(|c| !is_word(c)).unwrap_or(text.len());
    let first = rest.chars().next().unwrap_or_default();
    match first {
        '(' => Ok((Token::Open, 1)),
        ')' => Ok((Token::Close, 1)),
        '|' => Ok((Token::Pipe, 1)),
        '"' => quoted(rest),
        '`' => {
            let end = rest[1..].find('`').ok_or("a quote is not closed")?;
            Ok((Token::Value(Value::Text(rest[1..=end].to_owned())), end + 2))
        }
        '.' => {
            let length = word_length(&rest[1..]);
            match &rest[1..=length] {
                "" => Err("`.` must be followed by the name of a field".to_owned()),
                _ if rest[1 + length..].starts_with('.') => {
                    Err(format!("{} is a text and has no fields", &rest[..=length]))
                }
                name => Ok((Token::Field(name.to_owned()), length + 1)),
            }
        }
        '-' | '+' | '0'..='9' => {
            let length = 1 + rest[1..].find(|c| !is_word(c) && c != '.').unwrap_or(rest.len() - 1);
            let number = rest[..length].parse().map_err(|_| format!("{:?} is no whole number", &rest[..length]))?;
            Ok((Token::Value(Value::Number(number)), length))
        }
        _ if is_word(first) => {
            let length = word_length(rest);
            let token = match &rest[..length] {
                "true" => Token::Value(Value::Truth(true)),
                "false" => Token::Value(Value::Truth(false)),
                word => Token::Word(word.to_owned()),
            };
            Ok((token, length))
        }
        '$' => Err("variables ($) are not supported".to_owned()),
        _ => Err(format!("{first:?} is not understood")),
    }
}

/// A text in quotes, with the escapes of Go that JSON knows, too.
fn quoted(rest: &str) -> Result<(Token, usize), String> {
    let mut is_escaped = false;
    let end = rest.char_indices().skip(1).find(|(_, character)| {
        let ends = *character == '"' && !is_escaped;
        is_escaped = *character == '\\' && !is_escaped;
        ends
    });
    let (end, _) = end.ok_or("a quote is not closed")?;
    let text = serde_json::from_str(&rest[..=end]).map_err(|_| format!("{} is no text", &rest[..=end]))?;
    Ok((Token::Value(Value::Text(text)), end + 1))
}

/// What ended a block: `else`, with what follows it, or `end`.
struct End {
    at: usize,
    end: usize,
    tokens: Vec<(usize, Token)>,
}

type Pieces = std::vec::IntoIter<Piece>;

/// Nodes up to the end of a block or of the template.
fn block(pieces: &mut Pieces) -> Result<(Vec<Node>, Option<End>), String> {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let (begin, end, tokens) = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action { begin, end, tokens } => (begin, end, tokens),
        };
        let first = tokens.first().cloned();
        match first {
            Some((at, Token::Word(word))) if word == "end" || word == "else" => {
                return Ok((nodes, Some(End { at, end, tokens })));
            }
            Some((_, Token::Word(word))) if word == "if" => nodes.push(condition(begin, end, &tokens[1..], pieces)?),
            Some((at, Token::Word(word))) if !FUNCTIONS.contains(&word.as_str()) => {
                return Err(format!("at {at}: {word:?} is not known, only if, else, end, {}", FUNCTIONS.join(", ")));
            }
            _ => nodes.push(Node::Output(pipeline(&tokens, end - 1)?)),
        }
    }
    Ok((nodes, None))
}

/// The rest of an `if` whose condition is given; `begin` is where it stands.
fn condition(begin: usize, end: usize, asked: &[(usize, Token)], pieces: &mut Pieces) -> Result<Node, String> {
    let mut branches = Vec::new();
    let mut asked = pipeline(asked, end - 1)?;
    loop {
        let (nodes, ended) = block(pieces)?;
        branches.push((asked, nodes));
        let ended = ended.ok_or_else(|| format!("at {begin}: `if` without `end`"))?;
        match ended.tokens.as_slice() {
            [(_, Token::Word(word))] if word == "end" => return Ok(Node::If { branches, otherwise: Vec::new() }),
            [(_, Token::Word(word))] if word == "else" => {
                let (otherwise, ended) = block(pieces)?;
                let ended = ended.ok_or_else(|| format!("at {begin}: `if` without `end`"))?;
                return match ended.tokens.as_slice() {
                    [(_, Token::Word(word))] if word == "end" => Ok(Node::If { branches, otherwise }),
                    _ => Err(format!("at {}: nothing but `end` may follow after `else`", ended.at)),
                };
            }
            [(_, Token::Word(word)), (_, Token::Word(then)), rest @ ..] if word == "else" && then == "if" => {
                asked = pipeline(rest, ended.end - 1)?;
            }
            _ => return Err(format!("at {}: `end` and `else` stand alone, or as `else if`", ended.at)),
        }
    }
}

/// A pipeline from its words; `end` is where it ends.
fn pipeline(tokens: &[(usize, Token)], end: usize) -> Result<Pipeline, String> {
    let mut rest = tokens;
    let parsed = commands(&mut rest, end)?;
    match rest.first() {
        None => Ok(parsed),
        Some((at, _)) => Err(format!("at {at}: `)` without `(`")),
    }
}

fn commands(rest: &mut &[(usize, Token)], end: usize) -> Result<Pipeline, String> {
    let mut commands = Vec::new();
    loop {
        let command = command(rest, end)?;
        if !commands.is_empty() && command.function.is_none() {
            return Err(format!("at {}: what stands behind `|` is no function", command.at));
        }
        commands.push(command);
        match rest.first() {
            Some((_, Token::Pipe)) => *rest = &rest[1..],
            _ => return Ok(Pipeline(commands)),
        }
    }
}

fn command(rest: &mut &[(usize, Token)], end: usize) -> Result<Command, String> {
    let at = rest.first().map_or(end, |(at, _)| *at);
    let mut function = None;
    if let Some((at, Token::Word(word))) = rest.first() {
        if !FUNCTIONS.contains(&word.as_str()) {
            return Err(format!("at {at}: {word:?} is not known, only {}", FUNCTIONS.join(", ")));
        }
        function = Some(word.clone());
        *rest = &rest[1..];
    }
    let mut operands = Vec::new();
    while let Some((at, token)) = rest.first().cloned() {
        let operand = match token {
            Token::Field(name) => Operand::Field(name),
            Token::Value(value) => Operand::Value(value),
            // A function without arguments, as an argument.
            Token::Word(word) => return Err(format!("at {at}: {word:?} must stand in parentheses")),
            Token::Open => {
                *rest = &rest[1..];
                let inner = commands(rest, end)?;
                if !matches!(rest.first(), Some((_, Token::Close))) {
                    return Err(format!("at {at}: `(` without `)`"));
                }
                Operand::Pipeline(inner)
            }
            Token::Close | Token::Pipe => break,
        };
        operands.push((at, operand));
        *rest = &rest[1..];
    }
    if function.is_none() && operands.is_empty() {
        return Err(format!("at {at}: nothing stands here"));
    }
    Ok(Command { at, function, operands })
}
