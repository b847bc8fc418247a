//! Writes the text of `include/runtime.h`: one run of cbindgen for each section, so that the
//! header has its types beside the functions that use them, in the order a reader wants.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The sections in the header's order: the module in `src`, and the title.
pub(crate) const SECTIONS: &[(&str, &str)] = &[
    ("version", "Version"),
    ("status", "Status"),
    ("callback", "User data"),
    ("log", "Log"),
    ("handle", "Handles"),
    ("runtime", "Runtimes"),
    ("event_loop", "Event loops"),
    ("waker", "Wakers"),
    ("task", "Tasks"),
    ("blocking", "Blocking jobs"),
    ("timer", "Timers"),
    ("sleep", "Timers inside tasks"),
    ("watch", "Descriptors"),
    ("stream", "Streams"),
    ("stream_io", "Streams: reading and writing"),
    ("listener", "TCP: listening"),
    ("connect", "TCP: connecting"),
];

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("capi has a parent")
        .to_owned()
}

/// The committed header.
pub(crate) fn header_path() -> PathBuf {
    root().join("include/runtime.h")
}

/// What the header should be, and the functions that it declares.
pub(crate) struct Generated {
    pub(crate) text: String,
    pub(crate) functions: Vec<Function>,
}

/// A function of the header with its comment.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) comment: String,
}

pub(crate) fn generate() -> Generated {
    let mut sections = String::new();
    for (module, title) in SECTIONS {
        let rule = "=".repeat(84 - title.len());
        let text = tidy(&section(module));
        let _ = write!(sections, "/* == {title} {rule} */\n\n{}\n\n", text.trim());
    }
    let mut functions = functions(&sections);
    functions.sort_by(|a, b| a.name.cmp(&b.name));
    let text = include_str!("template.h")
        .replace("@PROGRAM@\n", &program())
        .replace("@INITIALISERS@\n", &initialisers(&sections))
        .replace("@SECTIONS@\n", &sections);
    Generated { text, functions }
}

fn section(module: &str) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/{module}.rs"));
    let bindings = cbindgen::Builder::new()
        .with_config(config())
        .with_src(&source)
        .generate()
        .unwrap_or_else(|error| panic!("cbindgen on {module}: {error}"));
    let mut text = Vec::new();
    bindings.write(&mut text);
    String::from_utf8(text).expect("the header is UTF-8")
}

fn config() -> cbindgen::Config {
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        style: cbindgen::Style::Both,
        no_includes: true,
        usize_is_size_t: true,
        documentation: true,
        documentation_style: cbindgen::DocumentationStyle::C99,
        sort_by: cbindgen::SortKey::None,
        line_length: 92,
        ..cbindgen::Config::default()
    };
    config.function.prefix = Some("RT_API".into());
    // Used by other sections only.
    config.export.include = vec!["rt_drop_fn".into(), "rt_buf".into()];
    config
}

/// Turns `//` comments, which C90 and `-pedantic` do not take, into `/* */`; puts negative numbers
/// in parentheses.
fn tidy(section: &str) -> String {
    let mut text = String::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in section.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        if let Some(words) = line.trim_start().strip_prefix("//") {
            comment.push(words.trim());
            continue;
        }
        match comment.as_slice() {
            [] => {}
            [one] => writeln!(text, "{indent}/* {one} */").unwrap(),
            [first, rest @ ..] => {
                writeln!(text, "{indent}/* {first}").unwrap();
                for words in rest {
                    writeln!(text, "{}", format!("{indent} * {words}").trim_end()).unwrap();
                }
                writeln!(text, "{indent} */").unwrap();
            }
        }
        comment.clear();
        let mut line = line.to_owned();
        if let Some((name, value)) = line
            .split_once(" -")
            .filter(|_| line.starts_with("#define"))
        {
            line = format!("{name} (-{value})");
        }
        text += &line;
        text += "\n";
    }
    declarations(&text)
}

/// Lays out each declaration anew: on one line if it fits, with C's names.
fn declarations(text: &str) -> String {
    let mut laid_out = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with(['/', ' ', '#']) || line.is_empty() {
            laid_out += &if line.ends_with(';') {
                with_names_of_c(line)
            } else {
                line.to_owned()
            };
            laid_out += "\n";
            continue;
        }
        let mut whole = line.trim().to_owned();
        while !whole.ends_with([';', '{']) {
            whole += " ";
            whole += lines.next().expect("a declaration ends").trim();
        }
        let whole = with_names_of_c(&whole).replace("( ", "(");
        if whole.len() <= 100 {
            laid_out += &whole;
        } else {
            let mut column = 0;
            for word in whole.split_inclusive(", ") {
                if column + word.trim_end().len() > 100 {
                    laid_out.truncate(laid_out.trim_end().len());
                    laid_out += "\n        ";
                    column = 8;
                }
                laid_out += word;
                column += word.len();
            }
        }
        laid_out += "\n";
    }
    laid_out
}

/// `loop` is a keyword of Rust, so it is `loop_` there; and all structs have a typedef.
fn with_names_of_c(declaration: &str) -> String {
    let named = declaration
        .replace("*loop_,", "*loop,")
        .replace("*loop_)", "*loop)")
        .replace("*loop_;", "*loop;");
    if named.starts_with("typedef struct") {
        named
    } else {
        named.replace("struct rt_", "rt_")
    }
}

fn functions(sections: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut comment = String::new();
    for line in sections.lines() {
        if line.starts_with("/*") {
            comment.clear();
        }
        if line.starts_with("/*") || line.starts_with(" *") {
            comment += line
                .trim_start_matches(['/', '*', ' '])
                .trim_end_matches("*/")
                .trim();
            comment += "\n";
        } else if line.starts_with("RT_API ") {
            let name = line
                .split('(')
                .next()
                .expect("a name stands before the arguments");
            let name = name.rsplit([' ', '*']).next().expect("split yields one");
            functions.push(Function {
                name: name.to_owned(),
                comment: std::mem::take(&mut comment),
            });
        } else if line.is_empty() {
            comment.clear();
        }
    }
    functions
}

/// The program of the overview, as a comment.
fn program() -> String {
    include_str!("program.c")
        .lines()
        .map(|line| format!(" *    {}", line.replace("/*", "//").replace(" */", "")))
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

/// A macro for each struct that begins with its size.
fn initialisers(sections: &str) -> String {
    let mut macros = String::new();
    let mut lines = sections.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line
            .strip_prefix("typedef struct ")
            .and_then(|l| l.strip_suffix(" {"))
        else {
            continue;
        };
        let fields: Vec<&str> = lines
            .by_ref()
            .take_while(|line| !line.starts_with('}'))
            .map(str::trim)
            .collect();
        if !fields.contains(&"size_t size;") {
            continue;
        }
        let mut values = vec![format!("sizeof({name})")];
        for field in fields.iter().filter(|field| field.ends_with(';')).skip(1) {
            let pointer = field.contains('*') || field.contains("_fn ");
            values.push(if pointer { "NULL" } else { "0" }.to_owned());
        }
        let _ = writeln!(
            macros,
            "#define {}_INIT {{ {} }}",
            name.to_uppercase(),
            values.join(", ")
        );
    }
    macros
}
