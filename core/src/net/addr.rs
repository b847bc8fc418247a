//! Addresses and names.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::lookup::look_up;
use super::parse::{self, Malformed};

/// What can be connected or bound to: an address, several, or a host name with a port.
///
/// A name is looked up by the system on one of the current runtime's threads for blocking jobs; an
/// address is taken as it is, and needs no runtime. An IPv6 address stands in brackets where a port
/// follows it, and may name its interface: `[fe80::1%2]:80`. Text that is neither, such as `::1`
/// without a port, is an error of kind `InvalidInput` that says what is wrong with it.
pub trait ToSocketAddrs: sealed::Sealed {}

mod sealed {
    pub trait Sealed {
        fn target(&self) -> super::Target;
    }
}

/// Public in a private module, for the sealed trait to name it.
#[derive(Debug)]
pub enum Target {
    One(SocketAddr),
    Addresses(Vec<SocketAddr>),
    Name(String, u16),
    Malformed(Malformed),
}

macro_rules! addresses {
    ($($type:ty),*) => {$(
        impl ToSocketAddrs for $type {}
        impl sealed::Sealed for $type {
            fn target(&self) -> Target {
                Target::One((*self).into())
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
        parse::host_and_port(self)
    }
}

impl ToSocketAddrs for (&str, u16) {}
impl sealed::Sealed for (&str, u16) {
    fn target(&self) -> Target {
        parse::host(self.0, self.1)
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

/// The addresses of an address or a name. See [`ToSocketAddrs`] for who looks a name up; the threads
/// that do have a class of their own, [`Class::DNS`](crate::blocking::Class::DNS), so that names which
/// take long keep no other jobs from running.
///
/// ```
/// # libruntime_core::runtime::Runtime::new()?.block_on(async {
/// let mut found = libruntime_core::net::lookup_host("localhost:80").await?;
/// assert!(found.all(|address| address.ip().is_loopback() && address.port() == 80));
/// # Ok::<(), std::io::Error>(())
/// # })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// A [`LookupError`](super::LookupError), of kind `NotFound` if there is no such name; `InvalidInput`
/// for what is neither an address nor a name with a port; `Unsupported` if there is no runtime.
///
/// # Cancel safety
/// Dropping the future gives the look-up up. One that a thread is at goes on there, for nobody.
pub async fn lookup_host(host: impl ToSocketAddrs) -> io::Result<impl Iterator<Item = SocketAddr>> {
    Ok(resolve(host).await?.into_iter())
}

/// At least one address, or an error.
pub(super) async fn resolve(to: impl ToSocketAddrs) -> io::Result<Vec<SocketAddr>> {
    resolve_target(to.target()).await
}

/// The first address, without an allocation if it was given.
pub(super) async fn resolve_first(to: impl ToSocketAddrs) -> io::Result<SocketAddr> {
    match to.target() {
        Target::One(address) => Ok(address),
        target => Ok(resolve_target(target).await?[0]),
    }
}

/// At least one address, or an error.
pub(super) async fn resolve_target(target: Target) -> io::Result<Vec<SocketAddr>> {
    let addresses = match target {
        Target::One(address) => vec![address],
        Target::Addresses(addresses) => addresses,
        Target::Name(host, port) => look_up(host, port).await?,
        Target::Malformed(malformed) => return Err(malformed.into()),
    };
    if addresses.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "there is no address to try",
        ));
    }
    Ok(addresses)
}
