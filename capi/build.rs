//! Link arguments of the shared library: its SONAME, and that it is never unmapped.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let os = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if matches!(
        os.as_str(),
        "linux" | "android" | "freebsd" | "netbsd" | "openbsd"
    ) {
        // Not `rustc-cdylib-link-arg`: Cargo hands that on to the libraries of the Python and Node packages,
        // which would then be taken for this one wherever it is asked for by name.
        println!("cargo:rustc-link-arg=-Wl,-soname,libruntime.so.0");
        // Worker threads and thread-local destructors outlive a dlclose: the code must stay mapped.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    } else if os == "macos" {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libruntime.0.dylib");
    }
}
