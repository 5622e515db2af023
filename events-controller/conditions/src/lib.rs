//! Conditions of the subscribers of a Trigger: an expression of CEL over the names of its inputs, each true while an
//! event of that input counts. What a condition says is worked out once, when it is compiled, so that a bad one is
//! refused before any event is met (E39), and an event costs a look into a table (E40).
#![warn(missing_docs)]

use std::{collections::BTreeSet, fmt, sync::Arc};

use cel::{
    Context, IdedExpr, Program, Value,
    common::ast::{EntryExpr, Expr, LiteralValue, operators},
};

/// Longest condition, in bytes.
pub const MAX_LENGTH: usize = 1024;

/// Most inputs that one condition may name.
pub const MAX_INPUTS: usize = 64;

/// Up to so many inputs, everything that a condition can say is worked out at once.
const TABLED: usize = 10;

/// Deepest nesting of brackets. The parser and the evaluation need stack for each.
const MAX_DEPTH: usize = 48;

/// Stack of the thread that compiles: far more than the deepest condition takes.
const STACK: usize = 64 << 20;

/// Most steps that one evaluation may take, by estimate: macros over lists can be nested.
const MAX_STEPS: u64 = 10_000;

/// A condition, compiled.
#[derive(Clone)]
pub struct Condition {
    inputs: Vec<usize>,
    is_typed: bool,
    says: Says,
}

#[derive(Clone)]
enum Says {
    /// A bit for each set of inputs.
    Table(Arc<[u64]>),
    /// Too many for a table: operators after their operands.
    Steps(Arc<[Step]>),
}

#[derive(Clone, Copy)]
enum Step {
    Input(usize),
    Constant(bool),
    Not,
    And,
    Or,
    Same,
    /// Of the third last, the second last if it is true, else the last.
    Choice,
}

/// Why a condition is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    /// Where, from 1: line and column. `None` if it is the condition as a whole.
    pub position: Option<(usize, usize)>,
    /// What is wrong, and what is allowed.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((1, column)) => write!(f, "column {column}: {}", self.message),
            Some((line, column)) => write!(f, "line {line}, column {column}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl Error {
    fn of_all(message: impl Into<String>) -> Self {
        Self { position: None, message: message.into() }
    }
}

impl Condition {
    /// Compiles a condition over the names of inputs.
    ///
    /// # Errors
    /// It is too long, too deep, or takes too many steps; it does not parse; it names what is no input, or too many; it
    /// has a value that is neither true nor false.
    pub fn compile<S: AsRef<str> + Sync>(text: &str, names: &[S]) -> Result<Self, Error> {
        if text.trim().is_empty() {
            return Err(Error::of_all("must not be empty; write \"true\" for every event"));
        }
        if text.len() > MAX_LENGTH {
            return Err(Error::of_all(format!("has {} bytes; at most {MAX_LENGTH} are allowed", text.len())));
        }
        if depth(text) > MAX_DEPTH {
            return Err(Error::of_all(format!("is nested {} deep; at most {MAX_DEPTH} are allowed", depth(text))));
        }
        std::thread::scope(|scope| {
            let compiling = std::thread::Builder::new().stack_size(STACK);
            let compiling = compiling.spawn_scoped(scope, || Self::compile_here(text, names));
            let compiled = compiling.ok().and_then(|compiling| compiling.join().ok());
            compiled.unwrap_or_else(|| Err(Error::of_all("could not be compiled")))
        })
    }

    fn compile_here<S: AsRef<str>>(text: &str, names: &[S]) -> Result<Self, Error> {
        let program = Program::compile(text).map_err(|errors| parse_error(&errors.errors))?;
        let mut reader = Reader { program: &program, text, names, scopes: Vec::new(), inputs: BTreeSet::new() };
        let steps = reader.read(program.expression())?;
        if steps > MAX_STEPS {
            return Err(Error::of_all(format!("takes {steps} steps; at most {MAX_STEPS} are allowed")));
        }
        let inputs: Vec<_> = reader.inputs.into_iter().collect();
        if inputs.len() > MAX_INPUTS {
            let message = format!("names {} inputs; at most {MAX_INPUTS} are allowed", inputs.len());
            return Err(Error::of_all(message));
        }
        let named: Vec<_> = inputs.iter().map(|input| names[*input].as_ref()).collect();
        let is_typed = is_typed(&program.expression().expr, &named);
        if inputs.len() <= TABLED {
            let says = Says::Table(table(&program, &named)?);
            return Ok(Self { inputs, is_typed, says });
        }
        let mut steps = Vec::new();
        if !plain(&program.expression().expr, &named, &mut steps) {
            let message = format!(
                "names {} inputs; more than {TABLED} can be combined by &&, ||, !, ==, != and ?: only",
                inputs.len()
            );
            return Err(Error::of_all(message));
        }
        Ok(Self { inputs, is_typed, says: Says::Steps(steps.into()) })
    }

    /// Whether it combines nothing but truth values, so that also those compile it who check types, as cel-go does:
    /// `a == 1` is no such condition.
    pub fn is_typed(&self) -> bool {
        self.is_typed
    }

    /// The inputs that it names, as indices into the names that it was compiled with, ascending.
    pub fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// Whether it is met by a set of inputs: bit `n` says that an event of input `inputs()[n]` counts.
    pub fn is_met(&self, set: u64) -> bool {
        match &self.says {
            Says::Table(table) => table[(set / 64) as usize] >> (set % 64) & 1 == 1,
            Says::Steps(steps) => evaluate(steps, set),
        }
    }

    /// Whether any event can meet it: one that names inputs is looked at when an event of one of them arrives, so
    /// `!a` never is. One with very many inputs is only tried with some.
    pub fn can_be_met(&self) -> bool {
        let number = self.inputs.len();
        let is_looked_at = |set: &u64| number == 0 || *set != 0;
        match number <= TABLED {
            true => (0..1 << number).filter(is_looked_at).any(|set| self.is_met(set)),
            false => samples(number).filter(is_looked_at).any(|set| self.is_met(set)),
        }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

fn parse_error(errors: &[cel::ParseError]) -> Error {
    let Some(first) = errors.first() else { return Error::of_all("does not parse") };
    let at = |number: isize| usize::try_from(number).ok().filter(|number| *number > 0);
    Error { position: at(first.pos.0).zip(at(first.pos.1)), message: first.msg.clone() }
}

/// No input, each alone, all but each, all.
fn samples(number: usize) -> impl Iterator<Item = u64> {
    let all = u64::MAX >> (64 - number);
    let each = (0..number).map(|bit| 1_u64 << bit);
    each.clone().chain(each.map(move |bit| all & !bit)).chain([0, all])
}

/// What it says of every set of inputs.
fn table(program: &Program, named: &[&str]) -> Result<Arc<[u64]>, Error> {
    let sets = 1_u64 << named.len();
    let mut table = vec![0_u64; sets.div_ceil(64) as usize];
    let functions = Context::default();
    let (mut is_ever_evaluated, mut failed) = (false, None);
    for set in 0..sets {
        let mut context = functions.new_inner_scope();
        for (bit, name) in named.iter().enumerate() {
            context.add_variable_from_value(*name, set >> bit & 1 == 1);
        }
        match program.execute(&context) {
            Ok(Value::Bool(is_met)) => {
                is_ever_evaluated = true;
                table[(set / 64) as usize] |= u64::from(is_met) << (set % 64);
            }
            Ok(other) => {
                let message = format!("must be true or false, and is of type {}", other.type_of());
                return Err(Error::of_all(message));
            }
            // What cannot be evaluated is not met, as in the original.
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if !is_ever_evaluated => Err(Error::of_all(format!("cannot be evaluated: {error}"))),
        _ => Ok(table.into()),
    }
}

/// The steps of an expression that combines inputs and constants only; whether it is one.
fn plain(expression: &Expr, named: &[&str], steps: &mut Vec<Step>) -> bool {
    let step = match expression {
        Expr::Ident(name) => named.iter().position(|named| named == name).map(Step::Input),
        Expr::Literal(LiteralValue::Boolean(value)) => Some(Step::Constant(*value.inner())),
        Expr::Call(call) if call.target.is_none() => {
            let step = match call.func_name.as_str() {
                operators::LOGICAL_NOT => Some(&[Step::Not][..]),
                operators::LOGICAL_AND => Some(&[Step::And][..]),
                operators::LOGICAL_OR => Some(&[Step::Or][..]),
                operators::EQUALS => Some(&[Step::Same][..]),
                operators::NOT_EQUALS => Some(&[Step::Same, Step::Not][..]),
                operators::CONDITIONAL => Some(&[Step::Choice][..]),
                _ => None,
            };
            let Some(step) = step else { return false };
            let is_plain = call.args.iter().all(|argument| plain(&argument.expr, named, steps));
            steps.extend(step);
            return is_plain;
        }
        _ => None,
    };
    steps.extend(step);
    step.is_some()
}

/// Whether everything in an expression is true or false; `named` are inputs and variables of macros.
fn is_typed(expression: &Expr, named: &[&str]) -> bool {
    match expression {
        Expr::Ident(name) => named.contains(&name.as_str()),
        Expr::Literal(LiteralValue::Boolean(_)) => true,
        Expr::Call(call) => {
            let of_booleans = [
                operators::LOGICAL_NOT,
                operators::LOGICAL_AND,
                operators::LOGICAL_OR,
                operators::EQUALS,
                operators::NOT_EQUALS,
                operators::CONDITIONAL,
            ];
            let is_known = call.target.is_none() && of_booleans.contains(&call.func_name.as_str());
            is_known && call.args.iter().all(|argument| is_typed(&argument.expr, named))
        }
        // `[a, b].exists(x, x)` and `all`; what they go on for is the parser's.
        Expr::Comprehension(of) => {
            let Expr::List(list) = &of.iter_range.expr else { return false };
            let inner = [named, &[of.iter_var.as_str(), of.accu_var.as_str()]].concat();
            list.elements.iter().all(|element| is_typed(&element.expr, named))
                && is_typed(&of.accu_init.expr, named)
                && is_typed(&of.loop_step.expr, &inner)
                && is_typed(&of.result.expr, &inner)
        }
        _ => false,
    }
}

fn evaluate(steps: &[Step], set: u64) -> bool {
    let mut values = Vec::with_capacity(8);
    for step in steps {
        let value = match step {
            Step::Input(bit) => Some(set >> bit & 1 == 1),
            Step::Constant(value) => Some(*value),
            Step::Not => values.pop().map(|value: bool| !value),
            Step::And => values.pop().zip(values.pop()).map(|(last, first)| first && last),
            Step::Or => values.pop().zip(values.pop()).map(|(last, first)| first || last),
            Step::Same => values.pop().zip(values.pop()).map(|(last, first)| first == last),
            Step::Choice => {
                let (last, first) = (values.pop(), values.pop());
                if values.pop() == Some(true) { first } else { last }
            }
        };
        // Each operator has its operands: the parser has counted them.
        values.extend(value);
    }
    values.pop() == Some(true)
}

/// How deep brackets are nested, wherever they stand.
fn depth(text: &str) -> usize {
    let deeper = |(depth, deepest): (usize, usize), character| match character {
        '(' | '[' | '{' => (depth + 1, deepest.max(depth + 1)),
        ')' | ']' | '}' => (depth.saturating_sub(1), deepest),
        _ => (depth, deepest),
    };
    text.chars().fold((0, 0), deeper).1
}

/// Reads an expression: which inputs it names, and how many steps it takes.
struct Reader<'a, S> {
    program: &'a Program,
    text: &'a str,
    names: &'a [S],
    /// Variables of macros.
    scopes: Vec<&'a str>,
    inputs: BTreeSet<usize>,
}

impl<'a, S: AsRef<str>> Reader<'a, S> {
    /// The steps of an expression, at most.
    fn read(&mut self, expression: &'a IdedExpr) -> Result<u64, Error> {
        let steps = match &expression.expr {
            Expr::Ident(name) => {
                self.name(expression.id, name)?;
                0
            }
            Expr::Call(call) => {
                let operands = call.target.as_deref().into_iter().chain(&call.args);
                self.all(operands)?
            }
            Expr::List(list) => self.all(&list.elements)?,
            Expr::Map(map) => self.entries(map.entries.iter().map(|entry| &entry.expr))?,
            Expr::Struct(made) => self.entries(made.entries.iter().map(|entry| &entry.expr))?,
            Expr::Select(select) => self.read(&select.operand)?,
            Expr::Comprehension(of) => {
                let (range, start) = (self.read(&of.iter_range)?, self.read(&of.accu_init)?);
                let before = self.scopes.len();
                self.scopes.extend([of.iter_var.as_str(), of.accu_var.as_str()]);
                self.scopes.extend(of.iter_var2.as_deref());
                let each = self.read(&of.loop_cond)?.saturating_add(self.read(&of.loop_step)?);
                let result = self.read(&of.result)?;
                self.scopes.truncate(before);
                let rounds = elements(&of.iter_range).saturating_mul(each);
                range.saturating_add(start).saturating_add(rounds).saturating_add(result)
            }
            Expr::Literal(_) | Expr::Unspecified => 0,
        };
        Ok(steps.saturating_add(1))
    }

    fn all(&mut self, expressions: impl IntoIterator<Item = &'a IdedExpr>) -> Result<u64, Error> {
        expressions.into_iter().try_fold(0_u64, |steps, expression| Ok(steps.saturating_add(self.read(expression)?)))
    }

    fn entries(&mut self, entries: impl Iterator<Item = &'a EntryExpr>) -> Result<u64, Error> {
        let mut steps = 0_u64;
        for entry in entries {
            let below = match entry {
                EntryExpr::StructField(field) => self.read(&field.value)?,
                EntryExpr::MapEntry(entry) => self.read(&entry.key)?.saturating_add(self.read(&entry.value)?),
            };
            steps = steps.saturating_add(below);
        }
        Ok(steps)
    }

    fn name(&mut self, id: u64, name: &str) -> Result<(), Error> {
        if self.scopes.contains(&name) {
            return Ok(());
        }
        if let Some(input) = self.names.iter().position(|known| known.as_ref() == name) {
            self.inputs.insert(input);
            return Ok(());
        }
        let names: Vec<_> = self.names.iter().map(AsRef::as_ref).collect();
        // `input-a` is a subtraction.
        let is_dashed = |known: &&&str| known.contains('-') && known.split('-').any(|part| part == name);
        let hint = match names.iter().find(is_dashed) {
            Some(dashed) => format!("; {dashed:?} cannot be written in a condition, since - is minus"),
            None => String::new(),
        };
        let known =
            if names.is_empty() { "there are none".to_owned() } else { format!("they are {}", names.join(", ")) };
        Err(Error { position: self.position(id), message: format!("{name:?} is not an input; {known}{hint}") })
    }

    fn position(&self, id: u64) -> Option<(usize, usize)> {
        let (offset, _) = self.program.source_info().offset_for(id)?;
        let before = self.text.get(..usize::try_from(offset).ok()?)?;
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Some((line, column))
    }
}

/// How many elements a range has, at most. A list is written out, or made of one that is.
fn elements(range: &IdedExpr) -> u64 {
    match &range.expr {
        Expr::List(list) => list.elements.len() as u64,
        Expr::Map(map) => map.entries.len() as u64,
        // `map` and `filter` have at most as many as their range.
        Expr::Comprehension(of) => elements(&of.iter_range).max(1),
        // Lists that are added, repeated or chosen from, texts that are split.
        Expr::Call(call) => {
            call.target.as_deref().into_iter().chain(&call.args).map(elements).fold(0, u64::saturating_add)
        }
        _ => MAX_LENGTH as u64,
    }
}

#[cfg(test)]
mod tests;
