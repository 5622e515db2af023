//! How fast an empty controller is ready, and how much memory it takes when idle.
//!
//! `cargo bench --bench process`. The figures are printed; nothing is asserted.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use e2e::api_server::{ApiServer, free_ports, install_crds, own_crds};

/// Starts that are measured.
const STARTS: u32 = 10;

fn main() -> Result<()> {
    let server = ApiServer::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { install_crds(&server.client().await?, &own_crds()).await })?;
    // The first start makes certificates; the others find them.
    let mut starts = Vec::new();
    for start in 0..=STARTS {
        let (controller, took) = Running::start(&server)?;
        if start > 0 {
            starts.push(took);
        } else {
            println!("first start, certificates made: ready after {took:.0?}");
        }
        if start == STARTS {
            std::thread::sleep(Duration::from_secs(5));
            let (all, own) = (controller.resident_bytes("VmRSS:")?, controller.resident_bytes("RssAnon:")?);
            println!("idle: {:.1} MB resident, {:.1} MB of it not the program's file", all / 1e6, own / 1e6);
        }
    }
    starts.sort();
    println!(
        "{STARTS} starts: ready after {:.0?} (median), {:.0?} (worst)",
        starts[starts.len() / 2],
        starts[starts.len() - 1]
    );
    Ok(())
}

struct Running(Child);

impl Running {
    /// Starts the controller and waits until it is ready.
    fn start(server: &ApiServer) -> Result<(Self, Duration)> {
        let addresses = free_ports::<3>()?.map(|port| format!("127.0.0.1:{port}"));
        let began = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_sample-controller"))
            .env("KUBECONFIG", server.kubeconfig())
            .args([
                "--metrics-address",
                &addresses[0],
                "--status-address",
                &addresses[1],
                "--webhook-address",
                &addresses[2],
            ])
            .stderr(Stdio::null())
            .spawn()?;
        let running = Self(child);
        while began.elapsed() < Duration::from_secs(30) {
            if is_ready(&addresses[0]).unwrap_or(false) {
                return Ok((running, began.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        bail!("not ready after 30 s")
    }

    fn resident_bytes(&self, of: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(of)).with_context(|| format!("no {of}"))?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_ready(address: &str) -> Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /ready HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.0 200"))
}
