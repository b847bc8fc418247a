//! Writes the text of `include/runtime.h`: one run of cbindgen for each section, so that the
//! header has its types beside the functions that use them, in the order a reader wants.

use std::path::{Path, PathBuf};

/// The sections in the header's order: the module in `src`, and the title.
pub const SECTIONS: &[(&str, &str)] = &[
    ("version", "Version"),
    ("status", "Status"),
    ("callback", "User data"),
    ("event_loop", "Event loops"),
    ("timer", "Timers"),
    ("watch", "Descriptors"),
    ("log", "Log"),
    ("handle", "Handles"),
];

/// The folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("capi has a parent")
        .to_owned()
}

/// The committed header.
pub fn header_path() -> PathBuf {
    root().join("include/runtime.h")
}

/// What the header should be, and the functions that it declares.
pub struct Generated {
    pub text: String,
    pub symbols: Vec<String>,
}

pub fn generate() -> Generated {
    let template = include_str!("template.h");
    let (before, after) = template
        .split_once("@SECTIONS@\n")
        .expect("the template has a place");
    let mut text = before.to_owned();
    let mut symbols = Vec::new();
    for (module, title) in SECTIONS {
        let (section, mut names) = section(module);
        let rule = "=".repeat(84 - title.len());
        text += &format!("/* == {title} {rule} */\n\n{}\n\n", section.trim());
        symbols.append(&mut names);
    }
    text += after;
    symbols.sort();
    Generated { text, symbols }
}

fn section(module: &str) -> (String, Vec<String>) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/{module}.rs"));
    let bindings = cbindgen::Builder::new()
        .with_config(config())
        .with_src(&source)
        .generate()
        .unwrap_or_else(|error| panic!("cbindgen on {module}: {error}"));
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = String::from_utf8(text).expect("the header is UTF-8");
    let names = text
        .lines()
        .filter(|line| line.starts_with("RT_API "))
        .map(|line| {
            let name = line
                .split('(')
                .next()
                .expect("a name comes before the arguments");
            name.rsplit([' ', '*'])
                .next()
                .expect("split yields one")
                .to_owned()
        })
        .collect();
    (text, names)
}

fn config() -> cbindgen::Config {
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        style: cbindgen::Style::Both,
        no_includes: true,
        usize_is_size_t: true,
        documentation: true,
        documentation_style: cbindgen::DocumentationStyle::C,
        sort_by: cbindgen::SortKey::None,
        line_length: 92,
        ..cbindgen::Config::default()
    };
    config.function.prefix = Some("RT_API".into());
    config.function.args = cbindgen::Layout::Auto;
    config
}
