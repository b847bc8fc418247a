//! Names of hosts, asked of the system (`getaddrinfo`) on a thread for blocking jobs.

use std::error::Error;
use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::ptr;

use socket2::SockAddr;

use crate::blocking::Class;
use crate::runtime;
use crate::task::{AbortHandle, JoinError, JoinHandle};

/// Why a name was not found. It is in the [`io::Error`] of whatever looked it up:
///
/// ```
/// # use libruntime_core::net::{self, LookupError};
/// # libruntime_core::runtime::Runtime::new()?.block_on(async {
/// let error = net::lookup_host("no-such-name.invalid:80").await.err().expect("no such name");
/// let lookup = error.get_ref().and_then(|inner| inner.downcast_ref::<LookupError>());
/// assert_eq!(lookup.expect("it is about the name").host(), "no-such-name.invalid");
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LookupError {
    host: String,
    code: libc::c_int,
    system: Option<io::Error>,
}

impl LookupError {
    /// The name that was looked up.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether there is no such name, or it has no address. The `io::Error` is of kind `NotFound`
    /// then.
    pub fn is_not_found(&self) -> bool {
        if self.code == libc::EAI_NONAME {
            return true;
        }
        #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
        if self.code == libc::EAI_NODATA {
            return true;
        }
        false
    }

    /// Whether it may succeed when it is tried again later: a server did not answer, for instance.
    pub fn is_temporary(&self) -> bool {
        self.code == libc::EAI_AGAIN
    }

    fn into_io(self) -> io::Error {
        let kind = match &self.system {
            Some(error) => error.kind(),
            None if self.is_not_found() => io::ErrorKind::NotFound,
            None => io::ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name {:?} does not resolve: ", self.host)?;
        match &self.system {
            Some(error) => error.fmt(f),
            None => {
                // SAFETY: the system's text for a code lasts, and ends with a zero.
                let text = unsafe { CStr::from_ptr(libc::gai_strerror(self.code)) };
                f.write_str(&text.to_string_lossy())
            }
        }
    }
}

impl Error for LookupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.system.as_ref().map(|error| error as _)
    }
}

/// The addresses of a name, in the order of RFC 6724, which the system knows.
pub(super) async fn look_up(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let runtime = runtime::Handle::try_current().map_err(|_| {
        let message = "a name is looked up by a runtime's threads for blocking jobs, and there is \
                       no runtime here: attach one, or use an address";
        io::Error::new(io::ErrorKind::Unsupported, message)
    })?;
    let job = runtime.spawn_blocking_in(Class::DNS, move || ask(host, port));
    let _unwanted = AbortOnDrop::of(&job);
    job.await.unwrap_or_else(|error| Err(not_done(error)))
}

/// Why a look-up has no result.
fn not_done(error: JoinError) -> io::Error {
    if error.is_cancelled() {
        let message = "the runtime was shut down, or has no thread for looking a name up";
        return io::Error::other(message);
    }
    io::Error::other(error)
}

/// A job that has not begun need not, when nobody waits for it any more.
struct AbortOnDrop(AbortHandle);

impl AbortOnDrop {
    fn of<T>(job: &JoinHandle<T>) -> AbortOnDrop {
        AbortOnDrop(job.abort_handle())
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn ask(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let Ok(name) = CString::new(host.as_str()) else {
        let message = "the name has a zero byte in it";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    };
    // SAFETY: zeroes are valid hints, which ask for nothing.
    let mut hints: libc::addrinfo = unsafe { MaybeUninit::zeroed().assume_init() };
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut list = ptr::null_mut();
    // SAFETY: the name ends with a zero, and there is a place for the answer.
    let code = unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &hints, &mut list) };
    if code != 0 {
        let system = (code == libc::EAI_SYSTEM).then(io::Error::last_os_error);
        return Err(LookupError { host, code, system }.into_io());
    }
    let mut found = Vec::new();
    let mut entry = list;
    while !entry.is_null() {
        // SAFETY: the list is the system's, and valid until it is freed.
        let info = unsafe { &*entry };
        // SAFETY: as much of the address is copied as there is, and as there is room for.
        let address = unsafe {
            SockAddr::try_init(|storage, len| {
                let size = (info.ai_addrlen as usize).min(*len as usize);
                ptr::copy_nonoverlapping(info.ai_addr.cast::<u8>(), storage.cast::<u8>(), size);
                *len = info.ai_addrlen;
                Ok(())
            })
        };
        if let Ok(((), address)) = address
            && let Some(mut address) = address.as_socket()
        {
            address.set_port(port);
            found.push(address);
        }
        entry = info.ai_next;
    }
    // SAFETY: the list is the system's, and is not looked at again.
    unsafe { libc::freeaddrinfo(list) };
    Ok(found)
}
