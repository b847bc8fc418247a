//! Addresses and names as text: "127.0.0.1:80", "[::1]:80", "[fe80::1%2]:80", "a.example:80".
//!
//! Text that can not be one of these is refused here with what is wrong with it, rather than looked up
//! as a name: "::1" without a port would otherwise be the host ":" and the port 1.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::addr::Target;

/// What is wrong with a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    NoHost,
    NoPort,
    /// An IPv6 address, which may have been meant with a port.
    BareV6,
    Port,
    Brackets,
    NotV6,
    Colons,
    /// With the port given apart: the text is more than a host.
    NotHost,
}

/// A text that is no address, and why.
#[derive(Debug)]
pub struct Malformed {
    text: Box<str>,
    fault: Fault,
}

impl Malformed {
    fn target(text: &str, fault: Fault) -> Target {
        Target::Malformed(Malformed {
            text: text.into(),
            fault,
        })
    }

    #[cfg(test)]
    pub(super) fn fault(&self) -> Fault {
        self.fault
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not an address with a port: ", self.text)?;
        f.write_str(match self.fault {
            Fault::NoHost => "there is no host in it",
            Fault::NoPort => "it ends without a colon and a port, as in \"localhost:80\"",
            Fault::BareV6 => "it is an IPv6 address alone; with a port it is written \"[::1]:80\"",
            Fault::Port => "what follows the last colon is no number from 0 to 65535",
            Fault::Brackets => {
                "a bracket is missing, or something stands between it and the port's colon; \
                 \"[::1]:80\" is right"
            }
            Fault::NotV6 => "only an IPv6 address stands in brackets",
            Fault::Colons => {
                "there are colons before the port's: an IPv6 address needs brackets, as in \
                 \"[::1]:80\", and a URL is none"
            }
            Fault::NotHost => {
                "with the port given apart, the host is a name or an address without brackets"
            }
        })
    }
}

impl std::error::Error for Malformed {}

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, malformed)
    }
}

/// A host and a port in one text.
pub(super) fn host_and_port(text: &str) -> Target {
    if let Ok(address) = text.parse() {
        return Target::One(address);
    }
    let fault = |fault| Malformed::target(text, fault);
    if text.is_empty() {
        return fault(Fault::NoHost);
    }
    if is_v6(text) {
        return fault(Fault::BareV6);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let Some((inside, after)) = rest.split_once(']') else {
            return fault(Fault::Brackets);
        };
        if !is_v6(inside) {
            return fault(Fault::NotV6);
        }
        return match after.strip_prefix(':') {
            // The name of an interface is the system's to look up.
            Some(digits) => port(digits).map_or_else(fault, |port| with_port(inside, port, text)),
            None if after.is_empty() => fault(Fault::NoPort),
            None => fault(Fault::Brackets),
        };
    }
    match text.rsplit_once(':') {
        None => fault(Fault::NoPort),
        Some(("", _)) => fault(Fault::NoHost),
        Some((host, _)) if host.contains(':') => fault(Fault::Colons),
        Some((host, digits)) => port(digits).map_or_else(fault, |port| with_port(host, port, text)),
    }
}

fn port(digits: &str) -> Result<u16, Fault> {
    if digits.is_empty() {
        return Err(Fault::NoPort);
    }
    // A sign would be taken for part of the number.
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
    let port = digits.parse().ok().filter(|_| plain);
    port.ok_or(Fault::Port)
}

/// A host, and the port apart.
pub(super) fn host(host: &str, port: u16) -> Target {
    with_port(host, port, host)
}

fn with_port(host: &str, port: u16, text: &str) -> Target {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Target::One(SocketAddr::new(ip, port));
    }
    if let Some((ip, scope)) = host.split_once('%')
        && let (Ok(ip), Ok(scope)) = (ip.parse(), scope.parse())
    {
        return Target::One(SocketAddrV6::new(ip, port, 0, scope).into());
    }
    if host.is_empty() {
        return Malformed::target(text, Fault::NoHost);
    }
    if host.contains(['[', ']']) || (host.contains(':') && !is_v6(host)) {
        return Malformed::target(text, Fault::NotHost);
    }
    Target::Name(host.to_owned(), port)
}

/// Whether it is an IPv6 address, with or without the name or number of an interface.
fn is_v6(text: &str) -> bool {
    let ip = match text.split_once('%') {
        Some((_, "")) => return false,
        Some((ip, _)) => ip,
        None => text,
    };
    ip.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(target: Target) -> String {
        match target {
            Target::One(address) => address.to_string(),
            other => panic!("no address: {other:?}"),
        }
    }

    fn fault(target: Target) -> Fault {
        match target {
            Target::Malformed(malformed) => malformed.fault(),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn addresses_need_no_look_up() {
        for text in ["127.0.0.1:80", "[::1]:80", "[fe80::1%2]:80", "0.0.0.0:0"] {
            assert_eq!(one(host_and_port(text)), text);
        }
        assert_eq!(one(host("::1", 80)), "[::1]:80");
        assert_eq!(one(host("fe80::1%2", 80)), "[fe80::1%2]:80");
        assert_eq!(one(host("127.0.0.1", 65_535)), "127.0.0.1:65535");
    }

    #[test]
    fn names_are_looked_up_and_so_are_interfaces() {
        for (text, name) in [
            ("a.example:80", "a.example"),
            ("[fe80::1%lo]:80", "fe80::1%lo"),
            ("1.2.3:80", "1.2.3"),
        ] {
            assert!(
                matches!(host_and_port(text), Target::Name(host, 80) if host == name),
                "{text}"
            );
            assert!(matches!(host(name, 80), Target::Name(host, 80) if host == name));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_for_what_is_wrong_with_it() {
        for (text, wrong) in [
            ("", Fault::NoHost),
            (":80", Fault::NoHost),
            ("a.example", Fault::NoPort),
            ("127.0.0.1", Fault::NoPort),
            ("a.example:", Fault::NoPort),
            ("[::1]", Fault::NoPort),
            ("::1", Fault::BareV6),
            ("::", Fault::BareV6),
            // Which may be ::1 with a port, and is another address without.
            ("::1:80", Fault::BareV6),
            ("fe80::1%lo", Fault::BareV6),
            ("a.example:99999", Fault::Port),
            ("a.example:-1", Fault::Port),
            ("a.example: 80", Fault::Port),
            ("a.example:http", Fault::Port),
            ("a.example:+80", Fault::Port),
            ("[::1]:", Fault::NoPort),
            ("[::1]:x", Fault::Port),
            ("[::1", Fault::Brackets),
            ("[::1]80", Fault::Brackets),
            ("[127.0.0.1]:80", Fault::NotV6),
            ("[a.example]:80", Fault::NotV6),
            ("[fe80::1%]:80", Fault::NotV6),
            ("[]:80", Fault::NotV6),
            ("http://a.example:80", Fault::Colons),
            ("fe80::1%lo:80", Fault::BareV6),
            ("::1::80", Fault::Colons),
            ("::1]:80", Fault::Colons),
            ("a]:80", Fault::NotHost),
        ] {
            assert_eq!(fault(host_and_port(text)), wrong, "{text:?}");
        }
        for (text, wrong) in [
            ("", Fault::NoHost),
            ("[::1]", Fault::NotHost),
            ("a.example:80", Fault::NotHost),
        ] {
            assert_eq!(fault(host(text, 80)), wrong, "{text:?}");
        }
    }

    #[test]
    fn the_error_names_the_text_and_what_to_write() {
        let Target::Malformed(malformed) = host_and_port("::1") else {
            panic!("refused");
        };
        let error = io::Error::from(malformed);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(
            error.to_string(),
            "\"::1\" is not an address with a port: it is an IPv6 address alone; with a port it is \
             written \"[::1]:80\""
        );
    }
}
