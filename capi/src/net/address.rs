//! Addresses: literals, names, and how C gets them.

use std::ffi::{CString, c_char};
use std::net::{IpAddr, SocketAddr};
use std::{io, ptr};

use crate::ffi::out;
use crate::status::{Error, RT_EAI_AGAIN, RT_EAI_FAIL, RT_EAI_NONAME, RT_EAI_OTHER};

/// An address in figures: "127.0.0.1", "::1", "fe80::1%2".
pub(crate) fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, port));
    }
    let (ip, scope) = host.split_once('%')?;
    let scope = scope.parse::<u32>().ok()?;
    Some(SocketAddr::V6(std::net::SocketAddrV6::new(
        ip.parse().ok()?,
        port,
        0,
        scope,
    )))
}

/// Looks a name up, which blocks.
///
/// # Errors
/// `Error::Resolve`, or `Inval` for a name with a NUL.
pub(crate) fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let host = CString::new(host).map_err(|_| Error::Inval)?;
    // SAFETY: all zeros are valid hints.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut list = ptr::null_mut();
    // SAFETY: `host` and `hints` are valid for the call, and `list` receives the result.
    match unsafe { libc::getaddrinfo(host.as_ptr(), ptr::null(), &hints, &mut list) } {
        0 => {}
        libc::EAI_SYSTEM => return Err(Error::last_os()),
        libc::EAI_NONAME => return Err(Error::Resolve(RT_EAI_NONAME)),
        // Linux's "no address for this name", which not every libc has.
        -5 => return Err(Error::Resolve(RT_EAI_NONAME)),
        libc::EAI_AGAIN => return Err(Error::Resolve(RT_EAI_AGAIN)),
        libc::EAI_FAIL => return Err(Error::Resolve(RT_EAI_FAIL)),
        libc::EAI_MEMORY => return Err(Error::Os(libc::ENOMEM)),
        _ => return Err(Error::Resolve(RT_EAI_OTHER)),
    }
    let mut found = Vec::new();
    let mut entry = list;
    // SAFETY: the list is getaddrinfo's, whose entries hold an address of the length they say; it
    // is freed once, after the last use.
    unsafe {
        while let Some(info) = entry.as_ref() {
            let address = socket2::SockAddr::try_init(|storage, len| {
                ptr::copy_nonoverlapping(
                    info.ai_addr.cast::<u8>(),
                    storage.cast::<u8>(),
                    info.ai_addrlen as usize,
                );
                *len = info.ai_addrlen;
                Ok::<(), io::Error>(())
            });
            if let Some(mut address) = address.ok().and_then(|(_, address)| address.as_socket()) {
                address.set_port(port);
                found.push(address);
            }
            entry = info.ai_next;
        }
        libc::freeaddrinfo(list);
    }
    if found.is_empty() {
        Err(Error::Resolve(RT_EAI_NONAME))
    } else {
        Ok(found)
    }
}

/// The order in which addresses are tried: as the system sorted them, but the families in turn, so
/// that one that does not work costs little (RFC 8305, section 4).
pub(crate) fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else {
        return addresses;
    };
    let (same, other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first);
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut order = Vec::new();
    loop {
        let pair = (same.next(), other.next());
        order.extend(pair.0);
        order.extend(pair.1);
        if pair == (None, None) {
            return order;
        }
    }
}

/// Writes an address for C: the host as text in figures, and the port. Either may be NULL.
///
/// # Safety
/// `host` is NULL or valid for writes of `len` bytes, `port` is NULL or valid for a write.
pub(crate) unsafe fn write(
    address: SocketAddr,
    host: *mut c_char,
    len: usize,
    port: *mut u16,
) -> Result<(), Error> {
    let text = match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        _ => address.ip().to_string(),
    };
    if !host.is_null() {
        if len <= text.len() {
            return Err(Error::Os(libc::ENOSPC));
        }
        // SAFETY: there is room for the text and a NUL by the check above.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), host.cast::<u8>(), text.len());
            host.add(text.len()).write(0);
        }
    }
    // SAFETY: passed on from the caller.
    if let Ok(port) = unsafe { out(port) } {
        port.write(address.port());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| literal(text, 80).unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_keep_their_order() {
        let sorted = addresses(&["::1", "::2", "::3", "10.0.0.1", "10.0.0.2"]);
        let wanted = addresses(&["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]);
        assert_eq!(interleave(sorted), wanted);
        assert_eq!(interleave(Vec::new()), Vec::new());
    }

    #[test]
    fn literals_need_no_lookup() {
        assert!(literal("localhost", 1).is_none());
        assert_eq!(
            literal("fe80::1%3", 9).unwrap().to_string(),
            "[fe80::1%3]:9"
        );
        assert!(literal("1.2.3", 9).is_none());
    }

    #[test]
    fn a_name_that_cannot_exist_does_not_resolve() {
        let error = resolve("no-such-host.invalid", 80).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Resolve(RT_EAI_NONAME | RT_EAI_AGAIN | RT_EAI_FAIL)
            ),
            "{error:?}"
        );
        assert_eq!(resolve("a\0b", 80), Err(Error::Inval));
    }

    #[test]
    fn a_text_that_does_not_fit_is_refused() {
        let mut host = [0 as c_char; 10];
        let address = literal("127.0.0.1", 8080).unwrap();
        let mut port = 0;
        // SAFETY: the buffer has the length that is passed.
        unsafe {
            assert!(write(address, host.as_mut_ptr(), 9, &mut port).is_err());
            assert_eq!(write(address, host.as_mut_ptr(), 10, &mut port), Ok(()));
            let text = std::ffi::CStr::from_ptr(host.as_ptr());
            assert_eq!((text.to_str(), port), (Ok("127.0.0.1"), 8080));
        }
    }
}
