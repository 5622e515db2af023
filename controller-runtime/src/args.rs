//! Flags and environment variables that every controller has.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{CommandFactory, FromArgMatches, Parser};
use openfunction_proto::GoDuration;

/// Flags of every controller. Each can also be given as an environment variable.
#[derive(Clone, Debug, Parser)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    /// Address of /metrics, /live and /ready.
    #[arg(long, env = "METRICS_ADDRESS", value_name = "IP:PORT", default_value = "0.0.0.0:8080")]
    pub metrics_address: SocketAddr,
    /// Address of the gRPC status API.
    #[arg(long, env = "STATUS_ADDRESS", value_name = "IP:PORT", default_value = "0.0.0.0:9090")]
    pub status_address: SocketAddr,
    /// Address of the admission and conversion webhooks.
    #[arg(long, env = "WEBHOOK_ADDRESS", value_name = "IP:PORT", default_value = "0.0.0.0:9443")]
    pub webhook_address: SocketAddr,
    /// File with PEM certificates of authorities: callers of the status API must show a certificate of one of them.
    #[arg(long, env = "STATUS_CLIENT_CA", value_name = "FILE")]
    pub status_client_ca: Option<PathBuf>,
    /// Namespace of this controller: its lease, certificates and status CA are there.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME", default_value = "openfunction")]
    pub namespace: String,
    /// Name of this replica, unique among the replicas of the controller.
    #[arg(long, env = "POD_NAME", value_name = "NAME", default_value_t = default_identity())]
    pub identity: String,
    /// Name of the Service in front of this controller; certificates are made for it. Absent is the controller's name.
    #[arg(long, env = "SERVICE_NAME", value_name = "NAME")]
    pub service_name: Option<String>,
    /// Name of the Lease that one replica holds while it reconciles. Absent is the controller's name.
    #[arg(long, env = "LEASE_NAME", value_name = "NAME")]
    pub lease_name: Option<String>,
    /// Time after which a lease that was not renewed may be taken over.
    #[arg(long, env = "LEASE_DURATION", value_name = "DURATION", default_value = "15s", value_parser = lease_duration)]
    pub lease_duration: Duration,
    /// Namespaces to work in, separated by commas. Absent means all.
    #[arg(long, env = "WATCH_NAMESPACES", value_name = "NAMES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: crate::telemetry::Args,
    /// Time for running work to end after the first signal.
    #[arg(long, env = "GRACE_PERIOD", value_name = "DURATION", default_value = "20s", value_parser = duration)]
    pub grace_period: Duration,
    /// Objects that are reconciled at the same time.
    #[arg(long, env = "CONCURRENCY", value_name = "NUMBER", default_value = "8", value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
}

fn default_identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}

/// Reads a flag that is a duration as Go writes it.
///
/// # Errors
/// A text that is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    GoDuration(text.to_owned()).to_std().ok_or_else(|| "not a duration such as 15s, 1m30s or 500ms".to_owned())
}

/// Reads a flag that is the DNS suffix of the cluster: a domain, or `auto` for that of the Pod (goals GW2).
///
/// # Errors
/// Nothing says what the domain of the cluster is.
pub fn cluster_domain(text: &str) -> Result<String, String> {
    if text != "auto" {
        return Ok(text.to_owned());
    }
    let resolver = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    searched_domain(&resolver).ok_or_else(|| {
        "/etc/resolv.conf has no search domain svc.<cluster domain>, as Pods with dnsPolicy ClusterFirst have; name the domain"
            .to_owned()
    })
}

/// The domain whose Services a resolver looks for.
fn searched_domain(resolver: &str) -> Option<String> {
    let search = resolver.lines().filter_map(|line| line.trim().strip_prefix("search "));
    search
        .flat_map(str::split_whitespace)
        .find_map(|domain| domain.strip_prefix("svc."))
        .map(|domain| domain.trim_end_matches('.').to_owned())
}

fn lease_duration(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|time| if time < MIN_LEASE { Err(format!("at least {MIN_LEASE:?}")) } else { Ok(time) })
}

/// Shorter leases would be asked for without pause.
const MIN_LEASE: Duration = Duration::from_secs(3);

/// The flags of a controller that has none of its own.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct NoFlags {}

/// What the command line asked for.
#[derive(Debug)]
pub enum Parsed<F> {
    /// Run with these flags: those of every controller, and the controller's own.
    Run(Box<(Args, F)>),
    /// Print this text and end: `--help` or `--version`.
    Print(String),
}

impl Args {
    /// Reads the command line of a controller that has the flags `F` besides.
    ///
    /// # Errors
    /// One line that names the flag and what is wrong with it.
    pub fn parse_line<F: clap::Args>(
        name: &'static str,
        about: &'static str,
        version: &'static str,
        line: impl IntoIterator<Item = std::ffi::OsString>,
    ) -> Result<Parsed<F>, String> {
        let command = F::augment_args(Self::command()).name(name).about(about).version(version);
        let read = |matches| Ok((Self::from_arg_matches(&matches)?, F::from_arg_matches(&matches)?));
        match command.try_get_matches_from(line).and_then(read) {
            Ok((args, own)) => Ok(Parsed::Run(Box::new((args.without_empty_values(), own)))),
            Err(error) if !error.use_stderr() => Ok(Parsed::Print(error.to_string())),
            Err(error) => Err(one_line(&error.to_string(), name)),
        }
    }
}

impl Args {
    /// An environment variable that is set to nothing is not set: a chart writes them all.
    fn without_empty_values(mut self) -> Self {
        self.watch_namespaces.retain(|namespace| !namespace.is_empty());
        self.service_name = self.service_name.filter(|name| !name.is_empty());
        self.lease_name = self.lease_name.filter(|name| !name.is_empty());
        self.status_client_ca = self.status_client_ca.filter(|path| !path.as_os_str().is_empty());
        self
    }
}

/// Clap writes a paragraph; its first line says what is wrong.
fn one_line(text: &str, name: &str) -> String {
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    format!("{first}; `{name} --help` lists every flag")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gw2_the_domain_of_the_cluster_is_that_of_the_pods_resolver() {
        let resolver = "nameserver 10.96.0.10\nsearch shop.svc.c.example.com svc.c.example.com c.example.com lan\noptions ndots:5\n";
        assert_eq!(searched_domain(resolver).as_deref(), Some("c.example.com"));
        assert_eq!(searched_domain("search lan svc-x.lan\n"), None);
        assert_eq!(cluster_domain("a.b").as_deref(), Ok("a.b"));
    }

    fn parse(flags: &[&str]) -> Result<Parsed<NoFlags>, String> {
        let line = std::iter::once("test-controller").chain(flags.iter().copied()).map(Into::into);
        Args::parse_line("test-controller", "Tests.", "1.2.3", line)
    }

    #[test]
    fn defaults_are_enough() {
        let Ok(Parsed::Run(args)) = parse(&[]) else { panic!("no flags are needed") };
        let (args, _) = *args;
        assert_eq!((args.lease_duration, args.metrics_address.port()), (Duration::from_secs(15), 8080));
        assert!(args.watch_namespaces.is_empty());
    }

    #[test]
    fn a_bad_flag_is_one_line_that_names_it() {
        for (flags, part) in [
            (["--metrics-address", "nonsense"], "'--metrics-address <IP:PORT>'"),
            (["--lease-duration", "15"], "not a duration such as 15s"),
            (["--lease-duration", "1s"], "at least 3s"),
            (["--log-format", "xml"], "'--log-format <FORMAT>'"),
            (["--no-such-flag", "1"], "'--no-such-flag'"),
        ] {
            let message = parse(&flags).unwrap_err();
            assert!(message.contains(part) && message.lines().count() == 1, "{message}");
            assert!(message.contains("test-controller --help"), "{message}");
        }
    }

    #[test]
    fn a_value_of_nothing_is_no_value() {
        let Ok(Parsed::Run(args)) = parse(&["--watch-namespaces", "a,", "--service-name", ""]) else {
            panic!("empty values are allowed")
        };
        let (args, _) = *args;
        assert_eq!((args.watch_namespaces, args.service_name), (vec!["a".to_owned()], None));
    }

    #[test]
    fn help_and_version_are_printed() {
        let Ok(Parsed::Print(help)) = parse(&["--help"]) else { panic!("--help prints") };
        assert!(help.contains("--watch-namespaces") && help.contains("WATCH_NAMESPACES"), "{help}");
        let Ok(Parsed::Print(version)) = parse(&["--version"]) else { panic!("--version prints") };
        assert!(version.contains("1.2.3"));
    }
}
