//! Two-stage shutdown: the first signal drains, the second one, or the end of the grace period, aborts.

use std::{process, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Exit code of a process that was aborted (128 + SIGTERM).
const ABORTED: i32 = 143;

/// A token that is cancelled by the first SIGTERM or SIGINT. A second signal, or `grace_period` later, the process ends
/// at once, whatever it is doing. Must be called inside a tokio runtime.
///
/// # Errors
/// If the process cannot listen for signals.
pub fn on_signals(grace_period: Duration) -> std::io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let drain = stop.clone();
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        info!(?grace_period, "stopping: running work may end");
        drain.cancel();
        tokio::select! {
            () = either(&mut terminate, &mut interrupt) => warn!("aborted by a second signal"),
            () = tokio::time::sleep(grace_period) => warn!("aborted: work did not end within the grace period"),
        }
        process::exit(ABORTED);
    });
    Ok(stop)
}

async fn either(a: &mut Signal, b: &mut Signal) {
    tokio::select! { _ = a.recv() => {}, _ = b.recv() => {} }
}
