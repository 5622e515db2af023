//! Decisions per second of one core: `cargo bench -p event-trigger`.

use std::{hint::black_box, time::Instant};

use event_conditions::Condition;
use event_trigger::engine::{Engine, Semantics, WINDOW};

const EVENTS: u64 = 5_000_000;

fn main() {
    for conditions in [&["a"][..], &["a && b"], &["a", "b", "a && b", "(a || b) && !c"]] {
        let compile = |text: &&str| Condition::compile(text, &["a", "b", "c"]).expect("it is right");
        let compiled = conditions.iter().map(compile).collect();
        let mut engine = Engine::new(compiled, &[vec![0], vec![1], vec![2]], WINDOW, Semantics::Matching);
        let began = Instant::now();
        let mut fired = 0;
        for event in 0..EVENTS {
            let arrival = engine.arrive(black_box((event % 3) as usize), event, event / 100);
            fired += black_box(arrival).fires.len();
        }
        let seconds = began.elapsed().as_secs_f64();
        println!("{conditions:?}: {:.0} events/s, {fired} deliveries of {EVENTS} events", EVENTS as f64 / seconds);
    }
}
