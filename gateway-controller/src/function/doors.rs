//! By which listeners the requests for a function's hostnames come in.

use openfunction_proto::networking::Listener;

use crate::gateway::{self, is_open, speaks_http};

/// The listeners that a route is attached to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Doors {
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// Names of those that are not the OpenFunction Gateway's: they let in only what its own do not take.
    pub foreign: Vec<String>,
    /// Hostnames that no listener takes, each with the reason.
    pub unserved: Vec<(String, String)>,
}

/// What there is to choose from.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Listeners of the OpenFunction Gateway.
    pub ours: &'a [Listener],
    /// Listeners of the Kubernetes Gateway.
    pub all: &'a [Listener],
    /// Namespace of the Kubernetes Gateway.
    pub gateway_namespace: &'a str,
    /// Namespace of the function.
    pub namespace: &'a str,
    /// Hostnames that the function has a certificate for: they come in by the listeners for it, and by no other.
    pub certified: &'a [String],
}

impl Offer<'_> {
    /// Chooses listeners for hostnames.
    ///
    /// They are named, since a route that two listeners of one port take for the same hostname is in conflict with
    /// itself for some implementations (Contour). The listeners of the OpenFunction Gateway come first; another one of
    /// the Kubernetes Gateway is used for hostnames that they do not take (N35), and then alone on its port if it takes
    /// theirs, too, and theirs is not nearer: what has a nearer listener is taken by no other (Gateway API, listener
    /// isolation).
    pub fn choose(&self, hostnames: &[String]) -> Doors {
        let is_usable = |listener: &&Listener| speaks_http(listener) && self.takes_namespace(listener) != Some(false);
        let usable: Vec<&Listener> = self.ours.iter().filter(is_usable).collect();
        let takes = |listener: &Listener, host: &String| self.lets_in(listener, host);
        let is_taken = |listener: &Listener, host: &String| {
            takes(listener, host) && !usable.iter().any(|other| takes(other, host) && is_nearer(other, listener))
        };
        let mut listeners = usable.clone();
        listeners.retain(|listener| hostnames.iter().any(|host| is_taken(listener, host)));
        let open: Vec<&String> =
            hostnames.iter().filter(|host| !listeners.iter().any(|listener| takes(listener, host))).collect();
        // Which namespaces a selector of somebody else chooses is not ours to say.
        let is_foreign = |listener: &&Listener| {
            !self.ours.iter().any(|own| own.name == listener.name)
                && speaks_http(listener)
                && self.takes_namespace(listener) == Some(true)
        };
        let mut names = Vec::new();
        for foreign in self.all.iter().filter(is_foreign) {
            if open.iter().any(|host| takes(foreign, host)) {
                let meet = |listener: &Listener| {
                    listener.port == foreign.port
                        && !is_nearer(listener, foreign)
                        && hostnames.iter().any(|host| takes(listener, host) && takes(foreign, host))
                };
                listeners.retain(|listener| !meet(listener));
                listeners.push(foreign);
                names.push(foreign.name.clone());
            }
        }
        let unserved = hostnames.iter().filter(|host| !listeners.iter().any(|listener| takes(listener, host)));
        Doors {
            unserved: unserved.map(|host| (host.clone(), self.why_not(host))).collect(),
            listeners: listeners.into_iter().cloned().collect(),
            foreign: names,
        }
    }

    fn lets_in(&self, listener: &Listener, host: &String) -> bool {
        let of_certificate = gateway::certificate_names(host).contains(&listener.name);
        takes(listener, host) && of_certificate == self.certified.contains(host)
    }

    fn takes_namespace(&self, listener: &Listener) -> Option<bool> {
        is_open(listener, self.gateway_namespace, self.namespace)
    }

    fn why_not(&self, host: &str) -> String {
        if self.certified.iter().any(|certified| certified == host) {
            return "the listener for its certificate is not there: it comes when the Gateway has room for it, and no other Function has the hostname".to_owned();
        }
        let closed = self.ours.iter().chain(self.all).find(|listener| speaks_http(listener) && takes(listener, host));
        match closed {
            Some(listener) => format!(
                "listener {:?} takes no routes of namespace {}; set its allowedRoutes.namespaces",
                listener.name, self.namespace
            ),
            None => "no listener of the Gateway takes it; add one for it, or name a hostname of the gateway's domain"
                .to_owned(),
        }
    }
}

impl Doors {
    /// Whether requests for a hostname are meant to come in by a listener: those of the OpenFunction Gateway go first, and
    /// of those on one port the nearest has them.
    fn is_way(&self, listener: &Listener, host: &str) -> bool {
        let is_foreign = |listener: &Listener| self.foreign.contains(&listener.name);
        let mut others = self.listeners.iter().filter(|other| takes(other, host));
        takes(listener, host)
            && !others.any(|other| is_nearer(other, listener) || (is_foreign(listener) && !is_foreign(other)))
    }

    /// The listener that a hostname's address is made of: HTTPS before HTTP.
    pub fn of(&self, host: &str) -> Option<&Listener> {
        let mut all: Vec<_> = self.listeners.iter().filter(|listener| self.is_way(listener, host)).collect();
        all.sort_by_key(|listener| (listener.protocol != "HTTPS", listener.port));
        all.first().copied()
    }

    /// The listeners of some of the hostnames.
    pub fn only(&self, hostnames: &[String]) -> Vec<Listener> {
        let lets_in = |listener: &&Listener| hostnames.iter().any(|host| self.is_way(listener, host));
        self.listeners.iter().filter(lets_in).cloned().collect()
    }

    /// Takes off those that only let in what shall come by HTTPS; with the hostnames of which that is so.
    pub fn split_redirected(&mut self, hostnames: &[String]) -> (Vec<Listener>, Vec<String>) {
        let is_secure = |host: &&String| self.of(host).is_some_and(|listener| listener.protocol == "HTTPS");
        let secure: Vec<_> = hostnames.iter().filter(is_secure).cloned().collect();
        let is_for_secure = |listener: &Listener| {
            let mut hosts = hostnames.iter().filter(|host| self.is_way(listener, host)).peekable();
            listener.protocol == "HTTP" && hosts.peek().is_some() && hosts.all(|host| secure.contains(host))
        };
        let (redirected, kept): (Vec<_>, Vec<_>) = self.listeners.iter().cloned().partition(is_for_secure);
        let hosts = secure.iter().filter(|host| redirected.iter().any(|listener| self.is_way(listener, host)));
        let hosts = hosts.cloned().collect();
        self.listeners = kept;
        (redirected, hosts)
    }
}

/// Whether a listener has what both take, as the Gateway API wants it: the hostname of the other is wider.
fn is_nearer(one: &Listener, other: &Listener) -> bool {
    let length = |listener: &Listener| listener.hostname.as_ref().map_or(0, String::len);
    one.port == other.port && length(one) > length(other)
}

/// Whether a listener takes requests for a hostname; either may begin with `*.`.
fn takes(listener: &Listener, host: &str) -> bool {
    let Some(listener) = listener.hostname.as_deref().filter(|hostname| !hostname.is_empty()) else { return true };
    let covers = |wide: &str, narrow: &str| {
        wide.strip_prefix('*').is_some_and(|suffix| narrow.len() > suffix.len() && narrow.ends_with(suffix))
    };
    listener == host || covers(listener, host) || covers(host, listener)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listener(name: &str, hostname: &str, protocol: &str, port: i32, from: &str) -> Listener {
        serde_json::from_value(json!({"name": name, "hostname": hostname, "protocol": protocol, "port": port,
            "allowedRoutes": {"namespaces": {"from": from}}}))
        .unwrap()
    }

    fn chosen(ours: &[Listener], foreign: &[Listener], hosts: &[&str]) -> (Vec<String>, Vec<String>) {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let offer = Offer { ours, all: foreign, gateway_namespace: "infra", namespace: "shop", certified: &[] };
        let doors = offer.choose(&hosts);
        let names = doors.listeners.iter().map(|listener| listener.name.clone()).collect();
        (names, doors.unserved.into_iter().map(|(host, _)| host).collect())
    }

    #[test]
    fn a_route_names_its_listeners_so_that_none_takes_a_hostname_twice() {
        let ours = [
            listener("external", "*.ofn.io", "HTTP", 80, "All"),
            listener("internal", "*.cluster.local", "HTTP", 80, "All"),
            listener("tcp", "", "TCP", 99, "All"),
        ];
        let open = listener("http", "", "HTTP", 80, "All");
        let closed = listener("closed", "", "HTTP", 81, "Same");
        let foreign = [open.clone(), closed.clone()];
        let (external, internal, other) = ("f.ofn.io", "f.svc.cluster.local", "shop.example.com");
        let is = |foreign: &[Listener], hosts: &[&str], names: &[&str], unserved: &[&str]| {
            let (chosen, not) = chosen(&ours, foreign, hosts);
            assert_eq!(
                (chosen, not),
                (names.iter().map(|n| (*n).to_owned()).collect(), unserved.iter().map(|n| (*n).to_owned()).collect())
            );
        };
        is(&foreign, &[external, internal], &["external", "internal"], &[]);
        is(&foreign, &[internal], &["internal"], &[]);
        is(&foreign, &[other, internal], &["internal", "http"], &[]);
        let everywhere = [listener("mine", "", "HTTP", 80, "All")];
        assert_eq!(chosen(&everywhere, &foreign, &[other, internal]).0, ["mine"]);
        is(&[closed], &[other, internal], &["internal"], &[other]);
        let narrow = listener("narrow", "*.example.com", "HTTPS", 443, "All");
        is(&[narrow], &[other, external, internal], &["external", "internal", "narrow"], &[]);
    }

    #[test]
    fn rt21_a_hostname_with_a_certificate_comes_in_by_no_other_listener() {
        let host = "shop.example.com".to_owned();
        let [secure, _] = gateway::certificate_names(&host);
        let open = listener("http", "", "HTTP", 80, "All");
        let of_certificate = listener(&secure, &host, "HTTPS", 443, "All");
        let chosen = |ours: &[Listener]| {
            let certified = std::slice::from_ref(&host);
            let offer =
                Offer { ours, all: std::slice::from_ref(&open), gateway_namespace: "i", namespace: "n", certified };
            offer.choose(certified)
        };
        let doors = chosen(&[]);
        assert!(doors.listeners.is_empty() && doors.unserved[0].0 == host, "not in plain HTTP: {doors:?}");
        assert_eq!(chosen(std::slice::from_ref(&of_certificate)).listeners, [of_certificate]);
    }

    #[test]
    fn n29_the_address_is_that_of_the_listener_https_first() {
        let doors = Doors {
            listeners: vec![
                listener("plain", "*.ofn.io", "HTTP", 8080, "All"),
                listener("secure", "*.ofn.io", "HTTPS", 8443, "All"),
                listener("internal", "*.cluster.local", "HTTP", 80, "All"),
            ],
            ..Doors::default()
        };
        assert_eq!(doors.of("f.ofn.io").unwrap().name, "secure");
        assert_eq!(doors.of("f.cluster.local").unwrap().name, "internal");
        assert_eq!(doors.of("f.example.com"), None);
        let mut split = doors.clone();
        let hosts = ["f.ofn.io".to_owned(), "f.cluster.local".to_owned()];
        let (redirected, hosts) = split.split_redirected(&hosts);
        assert_eq!((redirected[0].name.as_str(), redirected.len(), hosts), ("plain", 1, vec!["f.ofn.io".to_owned()]));
        assert_eq!(split.listeners.len(), 2);
    }

    #[test]
    fn rt16_a_name_inside_the_cluster_stays_http_beside_listeners_of_others_for_every_name() {
        let ours = [listener("internal", "*.cluster.local", "HTTP", 80, "All")];
        let foreign = [listener("http", "", "HTTP", 80, "All"), listener("https", "", "HTTPS", 443, "All")];
        let hosts = ["shop.example.com".to_owned(), "f.n.svc.cluster.local".to_owned()];
        let offer = Offer { ours: &ours, all: &foreign, gateway_namespace: "infra", namespace: "shop", certified: &[] };
        let mut doors = offer.choose(&hosts);
        let way = |doors: &Doors, host: &str| doors.of(host).unwrap().name.clone();
        assert_eq!((way(&doors, &hosts[0]).as_str(), way(&doors, &hosts[1]).as_str()), ("https", "internal"));
        let (redirected, of) = doors.split_redirected(&hosts);
        assert_eq!((redirected[0].name.as_str(), redirected.len(), &of[..]), ("http", 1, &hosts[..1]));
        assert_eq!(way(&doors, &hosts[1]), "internal");
    }

    #[test]
    fn wildcards_meet() {
        for (name, host, meets) in [
            ("", "a.b", true),
            ("*.b", "a.b", true),
            ("*.b", "b", false),
            ("*.b", "a.xb", false),
            ("a.b", "*.b", true),
            ("*.c.b", "*.b", true),
            ("a.b", "c.b", false),
        ] {
            assert_eq!(takes(&listener("x", name, "HTTP", 80, "All"), host), meets, "{name:?} {host}");
        }
    }
}
