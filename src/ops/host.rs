//! Checks the host name of a request.
//!
//! A web page may send requests to any host name, and the owner of that name may let it resolve to this machine
//! (DNS rebinding). The browser then takes the answer for the page's own. So a name must be one that the
//! settings list. An address cannot be rebound. A client that sends no name is not a browser.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::Request;
use hyper::header::HOST;
use hyper::http::uri::Authority;

use crate::plan::http::Hosts;

/// Paths that show only health: answered under any name.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Whether a request may be answered under the host names that it sends.
pub(super) fn may_ask<B>(request: &Request<B>, hosts: &Hosts) -> bool {
    if OPEN.contains(&request.uri().path()) {
        return true;
    }
    let named = request.headers().get_all(HOST).iter().map(|it| it.to_str().unwrap_or("?"));
    let target = request.uri().authority().map(Authority::as_str);
    named.chain(target).all(|it| it.is_empty() || is_known(it, hosts))
}

/// Whether `host[:port]` is an address, this machine's own name or one of `hosts`.
fn is_known(authority: &str, hosts: &Hosts) -> bool {
    if let Some((address, _)) = authority.strip_prefix('[').and_then(|it| it.split_once(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let host = authority.split_once(':').map_or(authority, |(host, _)| host);
    let host = host.strip_suffix('.').unwrap_or(host);
    host.parse::<Ipv4Addr>().is_ok() || host.eq_ignore_ascii_case("localhost") || hosts.has(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(uri: &str, names: &[&str]) -> bool {
        let hosts = serde_json::from_str(r#"["Gateway", "gw.example"]"#).unwrap();
        let request = names.iter().fold(Request::get(uri), |it, name| it.header(HOST, *name));
        may_ask(&request.body(()).unwrap(), &hosts)
    }

    #[test]
    fn addresses_and_known_names_may_ask_and_no_others() {
        for name in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "192.0.2.7:80",
            "[::1]",
            "[2001:db8::1]:8080",
            "localhost:8080",
            "LocalHost",
            "gateway:8080",
            "GW.Example.",
            "",
        ] {
            assert!(may("/api/status", &[name]), "{name}");
        }
        for name in ["evil.example", "gateway.evil.example", "xgateway:8080", "[x]", "1.2.3", "é"]
        {
            assert!(!may("/api/status", &[name]), "{name}");
            assert!(!may("/metrics", &[name]), "{name}");
            assert!(!may("/", &["127.0.0.1", name]), "one of two is enough: {name}");
            assert!(may("/readyz", &[name]) && may("/healthz?x=y", &[name]), "{name}");
        }
        assert!(may("/metrics", &[]), "HTTP/1.0");
        assert!(!may("http://evil.example/metrics", &["127.0.0.1"]));
    }
}
