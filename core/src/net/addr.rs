//! Addresses and names.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::runtime;

/// What can be connected or bound to: an address, several, or a host name with a port.
///
/// A name is looked up by the system on one of the current runtime's threads for blocking jobs; an
/// address is taken as it is, and needs no runtime.
pub trait ToSocketAddrs: sealed::Sealed {}

mod sealed {
    pub trait Sealed {
        fn target(&self) -> super::Target;
    }
}

/// Public in a private module, for the sealed trait to name it.
#[derive(Debug)]
pub enum Target {
    Addresses(Vec<SocketAddr>),
    Name(String, u16),
    /// Neither an address nor a name with a port.
    Malformed,
}

macro_rules! addresses {
    ($($type:ty),*) => {$(
        impl ToSocketAddrs for $type {}
        impl sealed::Sealed for $type {
            fn target(&self) -> Target {
                Target::Addresses(vec![(*self).into()])
            }
        }
    )*};
}

addresses!(
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16)
);

impl ToSocketAddrs for [SocketAddr] {}
impl sealed::Sealed for [SocketAddr] {
    fn target(&self) -> Target {
        Target::Addresses(self.to_vec())
    }
}

impl ToSocketAddrs for str {}
impl sealed::Sealed for str {
    fn target(&self) -> Target {
        if let Ok(address) = self.parse() {
            return Target::Addresses(vec![address]);
        }
        match self
            .rsplit_once(':')
            .map(|(host, port)| (host, port.parse()))
        {
            Some((host, Ok(port))) => (host, port).target(),
            _ => Target::Malformed,
        }
    }
}

impl ToSocketAddrs for (&str, u16) {}
impl sealed::Sealed for (&str, u16) {
    fn target(&self) -> Target {
        let (host, port) = *self;
        match host.parse::<IpAddr>() {
            Ok(ip) => Target::Addresses(vec![SocketAddr::new(ip, port)]),
            Err(_) => Target::Name(host.to_owned(), port),
        }
    }
}

impl ToSocketAddrs for String {}
impl sealed::Sealed for String {
    fn target(&self) -> Target {
        self.as_str().target()
    }
}

impl ToSocketAddrs for (String, u16) {}
impl sealed::Sealed for (String, u16) {
    fn target(&self) -> Target {
        (self.0.as_str(), self.1).target()
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {}
impl<T: sealed::Sealed + ?Sized> sealed::Sealed for &T {
    fn target(&self) -> Target {
        (**self).target()
    }
}

/// At least one address, or an error.
pub(super) async fn resolve(to: impl ToSocketAddrs) -> io::Result<Vec<SocketAddr>> {
    let addresses = match to.target() {
        Target::Addresses(addresses) => addresses,
        Target::Name(host, port) => look_up(host, port).await?,
        Target::Malformed => {
            let message = "an address, or a name and a port with a colon between, is needed";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    };
    if addresses.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "there is no address to try",
        ));
    }
    Ok(addresses)
}

async fn look_up(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let runtime = runtime::Handle::try_current().map_err(|_| {
        let message = "a name is looked up by a runtime's threads for blocking jobs, and there is \
                       no runtime here: attach one, or use an address";
        io::Error::new(io::ErrorKind::Unsupported, message)
    })?;
    let job = runtime.spawn_blocking(move || {
        let found = std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port))?;
        Ok(found.collect())
    });
    job.await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::sealed::Sealed;
    use super::*;

    fn addresses(target: Target) -> Vec<String> {
        match target {
            Target::Addresses(addresses) => addresses.iter().map(ToString::to_string).collect(),
            other => panic!("not addresses: {other:?}"),
        }
    }

    #[test]
    fn addresses_need_no_look_up() {
        assert_eq!(addresses("127.0.0.1:80".target()), ["127.0.0.1:80"]);
        assert_eq!(addresses("[::1]:80".target()), ["[::1]:80"]);
        assert_eq!(addresses(("::1", 80).target()), ["[::1]:80"]);
        assert_eq!(
            addresses((Ipv4Addr::LOCALHOST, 1).target()),
            ["127.0.0.1:1"]
        );
    }

    #[test]
    fn names_are_told_from_nonsense() {
        assert!(matches!("a.example:80".target(), Target::Name(host, 80) if host == "a.example"));
        for nonsense in ["", "a.example", "a.example:", "a.example:99999", "::1"] {
            let target = nonsense.target();
            assert!(
                matches!(target, Target::Malformed | Target::Name(..)),
                "{nonsense}"
            );
        }
        assert!(matches!("a.example".target(), Target::Malformed));
    }
}
