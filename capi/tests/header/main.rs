//! The committed header against the source, the compilers and the shared library.

mod generate;

use generate::{generate, header_path};

/// With `LIBRUNTIME_WRITE_HEADER=1` this writes the header instead of comparing it.
#[test]
fn committed_header_is_what_the_source_generates() {
    let wanted = generate().text;
    if std::env::var_os("LIBRUNTIME_WRITE_HEADER").is_some() {
        std::fs::write(header_path(), &wanted).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(header_path()).unwrap_or_default();
    let differing = committed
        .lines()
        .zip(wanted.lines())
        .find(|(old, new)| old != new);
    assert!(
        committed == wanted,
        "include/runtime.h is not what the source generates (first difference: {differing:?}); \
         write it with LIBRUNTIME_WRITE_HEADER=1 cargo test -p libruntime --test header"
    );
}
