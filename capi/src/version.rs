//! Version of the library and of its binary interface.

use std::ffi::c_char;

/// Major version of this header.
pub const RT_VERSION_MAJOR: u32 = 0;
/// Minor version of this header.
pub const RT_VERSION_MINOR: u32 = 1;
/// Patch version of this header.
pub const RT_VERSION_PATCH: u32 = 0;
/// Version of the binary interface: the number in the name `libruntime.so.0`.
pub const RT_ABI_VERSION: u32 = 0;

const STRING: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// The version of the library that the program runs with, as one number that can be compared:
/// `major << 16 | minor << 8 | patch`. The header's own version is `RT_VERSION_MAJOR` and so on.
///
/// @threads any @signal_safe
#[unsafe(no_mangle)]
pub extern "C" fn rt_version() -> u32 {
    RT_VERSION_MAJOR << 16 | RT_VERSION_MINOR << 8 | RT_VERSION_PATCH
}

/// The same version as a static string, "0.1.0".
///
/// @threads any @signal_safe
#[unsafe(no_mangle)]
pub extern "C" fn rt_version_string() -> *const c_char {
    STRING.as_ptr().cast()
}

/// The version of the binary interface. A program built against another value of
/// `RT_ABI_VERSION` must not use this library.
///
/// @threads any @signal_safe
#[unsafe(no_mangle)]
pub extern "C" fn rt_abi_version() -> u32 {
    RT_ABI_VERSION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_package_have_one_version() {
        let header = format!("{RT_VERSION_MAJOR}.{RT_VERSION_MINOR}.{RT_VERSION_PATCH}");
        assert_eq!(header, env!("CARGO_PKG_VERSION"));
        assert_eq!(rt_version(), 0x00_01_00);
    }
}
