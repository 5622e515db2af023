//! HTTPS servers whose certificate can be exchanged while they run.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::certificates::ServingCertificate;

/// Time after which a caller that says nothing is asked whether it is still there, or has to have sent its headers.
const IDLE: Duration = Duration::from_secs(30);

/// Connections at one time, so that nobody can use up all file descriptors.
const CONNECTIONS: usize = 512;

/// Time for a caller to finish the TLS handshake, so that idle connections cannot pile up.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A TLS server configuration for HTTP/1.1 and HTTP/2. With `client_authorities` (PEM), callers must show a certificate.
///
/// # Errors
/// Authorities that cannot be read.
pub fn server_config(
    serving: Arc<ServingCertificate>,
    client_authorities: Option<&[u8]>,
) -> anyhow::Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match client_authorities {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate?)?;
            }
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?,
            )
        }
    };
    let mut config = builder.with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves `router` until `stop`; then requests that run may end.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    router: Router,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let acceptor = TlsAcceptor::from(config);
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(IDLE).keep_alive_timeout(HANDSHAKE);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let running = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Too many open files, for example: others may still close theirs.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!("a connection was refused: {CONNECTIONS} are open");
            continue;
        };
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
        let (server, watcher) = (server.clone(), running.watcher());
        tokio::spawn(async move {
            let _place = place;
            let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
            // Chosen at once: looking at the first bytes would have no time limit.
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let server = if is_http2 { server.http2_only() } else { server.http1_only() };
            let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
            if let Err(error) = watcher.watch(connection.into_owned()).await {
                tracing::debug!(error, "a connection ended");
            }
        });
    }
    running.shutdown().await;
    Ok(())
}

/// Chooses ring for TLS; nothing can be asked over TLS before. `false` if a provider was chosen already.
pub fn install_provider() -> bool {
    rustls::crypto::ring::default_provider().install_default().is_ok()
}
