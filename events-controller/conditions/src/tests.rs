use proptest::prelude::*;

use super::*;

fn compile(text: &str) -> Result<Condition, Error> {
    Condition::compile(text, &["A", "B", "C"])
}

fn met(text: &str) -> Vec<u64> {
    let condition = Condition::compile(text, &["A", "B"]).unwrap();
    assert!(condition.inputs().len() == 2, "{text}");
    (0..4).filter(|set| condition.is_met(*set)).collect()
}

#[test]
fn ev30_to_ev32_names_and_or_not_and_parentheses_are_understood() {
    assert_eq!(met("A && B"), [3]);
    assert_eq!(met("A || B"), [1, 2, 3]);
    assert_eq!(met("!A && B"), [2]);
    assert_eq!(met("!(A || B)"), [0]);
    assert_eq!(met("A == B"), [0, 3]);
    assert_eq!(met("A != B"), [1, 2]);
    assert_eq!(met("B ? A : false"), [3]);
    assert_eq!(met("[A, B].exists(x, x)"), [1, 2, 3]);
    assert_eq!(met("[A, B].all(A, A)"), [3]);
    let constant = compile("true").unwrap();
    assert!(constant.inputs().is_empty() && constant.is_met(0) && constant.can_be_met());
}

#[test]
fn one_that_no_event_can_meet_is_known() {
    for (text, can) in [("!A", false), ("false", false), ("A && !A", false), ("A && !B", true), ("!A && !B", false)] {
        assert_eq!(compile(text).unwrap().can_be_met(), can, "{text}");
    }
}

#[test]
fn e39_a_bad_one_is_refused_with_the_position() {
    let names = "they are A, B, C";
    for (text, expected) in [
        ("", "must not be empty; write \"true\" for every event".to_owned()),
        ("A && D", format!("column 6: \"D\" is not an input; {names}")),
        ("A &&\n  b", format!("line 2, column 3: \"b\" is not an input; {names}")),
        ("1", "must be true or false, and is of type int".to_owned()),
        ("[A][5]", "cannot be evaluated: Index out of bounds: Int(5)".to_owned()),
        ("nothing(A)", "cannot be evaluated: Undeclared reference to 'nothing'".to_owned()),
    ] {
        assert_eq!(compile(text).unwrap_err().to_string(), expected, "{text}");
    }
    for text in ["A &&", "A B", "(A", "A && && B", "in", "A = B", "\u{0}", "'", "A\u{20ac}"] {
        let error = compile(text).unwrap_err();
        assert!(error.position.is_some() && !error.message.is_empty(), "{text}: {error:?}");
    }
    let dashed = Condition::compile("input-a", &["input-a"]).unwrap_err();
    assert_eq!(
        dashed.to_string(),
        r#"column 1: "input" is not an input; they are input-a; "input-a" cannot be written in a condition, since - is minus"#
    );
}

#[test]
fn length_inputs_and_cost_are_limited() {
    let long = format!("A || {}", "A".repeat(MAX_LENGTH));
    assert_eq!(compile(&long).unwrap_err().to_string(), "has 1029 bytes; at most 1024 are allowed");
    let names: Vec<_> = (0..65).map(|number| format!("a{number}")).collect();
    let all = |number: usize| names[..number].join("||");
    let many = Condition::compile(&all(64), &names).unwrap();
    assert!(many.is_met(1 << 63) && many.can_be_met() && !many.is_met(0));
    let error = Condition::compile(&all(65), &names).unwrap_err();
    assert_eq!(error.to_string(), "names 65 inputs; at most 64 are allowed");
    let list = format!("[{}]", ["A"; 30].join(","));
    let nested = format!("{list}.all(x, {list}.all(y, {list}.all(z, x || y || z)))");
    assert!(compile(&nested).unwrap_err().message.ends_with("steps; at most 10000 are allowed"));
    let grown = format!("{list}.map(x, {list}).all(y, y.all(z, {list}.all(w, w || z)))");
    assert!(compile(&grown).unwrap_err().message.ends_with("steps; at most 10000 are allowed"));
    compile(&format!("{list}.all(x, {list}.exists(y, x || y))")).unwrap();
    let exotic = format!("[{}].exists(x, x)", names[..11].join(","));
    assert_eq!(
        Condition::compile(&exotic, &names).unwrap_err().to_string(),
        "names 11 inputs; more than 10 can be combined by &&, ||, !, ==, != and ?: only"
    );
    // As deep as may be, and as deep as can be written.
    let deep = |number: usize| compile(&format!("{}A{}", "(".repeat(number), ")".repeat(number)));
    assert!(deep(MAX_DEPTH).unwrap().is_met(1));
    assert_eq!(deep(500).unwrap_err().to_string(), "is nested 500 deep; at most 48 are allowed");
    for text in [&*"!".repeat(1023), "A?B:", "A==", "-", "A||B&&", "A[", "A.", "!A?A:"] {
        let _ = compile(&(text.repeat(1000 / text.len()) + "A"));
    }
}

#[test]
fn one_with_many_inputs_says_the_same_as_one_with_few() {
    let names: Vec<_> = (0..12).map(|number| format!("a{number}")).collect();
    for text in
        ["a0 && !a1", "(a0 || a1) == a2", "a0 ? a1 : !a2", "a0 != a1 && (true || a2)", "!(a0 ? a1 && a2 : false)"]
    {
        let few = Condition::compile(text, &names).unwrap();
        // What the others add is never true.
        let others = names[few.inputs().len()..].join(" && ");
        let many = Condition::compile(&format!("({text}) || (false && {others})"), &names).unwrap();
        assert!(matches!((&few.says, &many.says), (Says::Table(_), Says::Steps(_))));
        assert!((0..8).all(|set| set >= 1 << few.inputs().len() || few.is_met(set) == many.is_met(set)), "{text}");
    }
}

/// How many are tried, unless `CASES` says otherwise.
fn cases() -> u32 {
    std::env::var("CASES").ok().and_then(|number| number.parse().ok()).unwrap_or(2_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_nothing_panics(tokens in prop::collection::vec(prop::sample::select(&[
        "A", "B", "C", "D", "x", "&&", "||", "!", "(", ")", "[", "]", ",", ".", "?", ":", "==", "!=", "<", "-", "+", "true", "false",
        "1", "1.5", "'a'", "b'a'", "null", "in", "has(", ".all(x,", ".exists(x,", ".map(x,", "size(", "{", "}", "\n", "\\", "\"", "€",
        "9223372036854775808", "duration(", "timestamp(", ".matches(", "string(", "int(", "bytes(",
    ][..]), 0..24), any in ".{0,40}") {
        let _ = compile(&tokens.concat());
        let _ = compile(&tokens.join(" "));
        let _ = compile(&any);
    }
}
