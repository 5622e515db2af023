//! How long the local cluster takes to come up (with everything cached), to find that nothing is to do, to say how it
//! is, and to go down. Asserts nothing; ends a cluster that is up.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const ROUNDS: u32 = 3;

fn main() -> Result<()> {
    let timed = |arguments: &[&str]| -> Result<Duration> {
        let began = Instant::now();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_local")).args(arguments).output()?;
        if !output.status.success() {
            bail!("cargo local {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(began.elapsed())
    };
    let steps: [(&str, &[&str]); 5] =
        [("down", &["down"]), ("up", &["up"]), ("up again", &["up"]), ("status", &["status"]), ("down", &["down"])];
    for round in 1..=ROUNDS {
        for (name, arguments) in steps {
            println!("round {round}: {name:8} {:5.1} s", timed(arguments)?.as_secs_f64());
        }
    }
    Ok(())
}
