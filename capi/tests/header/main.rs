//! The committed header against the source, the compilers and the shared library.

mod generate;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use generate::{generate, header_path, root};

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

/// Each function says where it may be called, what it does, and, if it can fail, how.
#[test]
fn every_function_has_its_tags_and_its_text() {
    let mut faults = Vec::new();
    let functions = generate().functions;
    assert!(functions.len() > 20, "the functions were not found");
    let names: BTreeSet<&str> = functions.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names.len(), functions.len(), "a name is declared twice");
    for function in &functions {
        let (name, comment) = (&function.name, &function.comment);
        let mut fault = |what: &str| faults.push(format!("{name}: {what}"));
        let tags: Vec<&str> = comment
            .lines()
            .filter(|line| line.starts_with('@'))
            .collect();
        let [tags] = tags[..] else {
            fault("wants one line of tags");
            continue;
        };
        let threads = ["@threads any", "@threads loop", "@threads worker"];
        if !threads.iter().any(|tag| tags.starts_with(tag)) {
            fault("begins its tags without @threads any, loop or worker");
        }
        let known = ["threads", "blocking", "signal_safe", "consumes"];
        for tag in tags.split('@').skip(1) {
            let tag = tag.split_whitespace().next().unwrap_or_default();
            if !known.contains(&tag) {
                fault(&format!("has the unknown tag @{tag}"));
            }
        }
        let text = comment
            .lines()
            .filter(|line| !line.starts_with('@'))
            .collect::<String>();
        if text.len() < 20 {
            fault("has no text");
        }
        if name.ends_with("_free") && !tags.contains("@consumes") {
            fault("frees, and does not say @consumes");
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The same, in the declarations: what takes `drop` says `@consumes`, and what returns a status
/// says its errors or points to a function that does.
#[test]
fn comments_fit_their_declarations() {
    let generated = generate();
    let mut faults = Vec::new();
    for function in &generated.functions {
        let start = format!(" {}(", function.name);
        let declaration = generated
            .text
            .lines()
            .skip_while(|line| !(line.starts_with("RT_API ") && line.contains(&start)));
        let declaration: String = declaration
            .scan(false, |ended, line| {
                let this = (!*ended).then_some(line);
                *ended = line.ends_with(';');
                this
            })
            .collect();
        let comment = &function.comment;
        if declaration.contains("rt_drop_fn") && !comment.contains("@consumes data") {
            faults.push(format!(
                "{}: takes user data, and does not consume it",
                function.name
            ));
        }
        let fails = declaration.starts_with("RT_API int ") && function.name != "rt_waker_will_wake";
        if fails
            && !comment.contains("Errors")
            && !comment.contains("As `rt_")
            && !comment.contains("as `rt_")
        {
            faults.push(format!("{}: can fail, and does not say how", function.name));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// tests/c/test_misuse.c hands every function that takes a handle what is none.
#[test]
fn every_function_with_a_handle_is_misused_in_the_tests() {
    let misuse = std::fs::read_to_string(root().join("tests/c/test_misuse.c")).unwrap();
    let generated = generate();
    let handles = [
        "rt_runtime",
        "rt_loop",
        "rt_waker",
        "rt_context",
        "rt_task",
        "rt_timer",
    ];
    let more = [
        "rt_sleep",
        "rt_watch",
        "rt_stream",
        "rt_listener",
        "rt_op",
        "rt_connect",
    ];
    for function in &generated.functions {
        let start = format!(" {}(", function.name);
        let start_alone = format!("*{}(", function.name);
        let line = generated
            .text
            .lines()
            .filter(|line| line.starts_with("RT_API "))
            .find(|line| line.contains(&start) || line.contains(&start_alone));
        let arguments = line
            .expect("it is declared")
            .split_once('(')
            .expect("it has arguments")
            .1;
        let first = arguments.trim_start_matches("const ");
        let takes = handles
            .iter()
            .chain(&more)
            .any(|h| first.starts_with(&format!("{h} *")));
        // Those with an alternative to their first handle have tests of their own.
        let own = ["rt_tcp_connect", "rt_connect_new"].contains(&function.name.as_str());
        if takes && !own {
            assert!(
                misuse.contains(&format!("{}(h", function.name)),
                "{}",
                function.name
            );
        }
    }
}

fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its path");
    test.parent()
        .and_then(Path::parent)
        .expect("it is in target/<profile>/deps")
        .to_owned()
}

/// The folder with the shared library under the names that it is linked and loaded by.
fn library_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let built = target().join("deps/libruntime.so");
        assert!(built.exists(), "{} was not built", built.display());
        let folder = scratch("lib");
        for name in ["libruntime.so", "libruntime.so.0"] {
            let link = folder.join(name);
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(&built, link).unwrap();
        }
        folder
    })
}

fn library() -> PathBuf {
    library_folder().join("libruntime.so")
}

fn has(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok()
}

fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn scratch(name: &str) -> PathBuf {
    let folder = target().join("c-header").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Uses all that a header can get wrong by itself: types, constants, initialisers.
fn unit(function: &str) -> String {
    let text = generate().text;
    let mut body = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("#define RT_")
            && let Some((name, _)) = rest.split_once(" ")
        {
            let constant = format!("RT_{name}");
            if let Some(stem) = constant.strip_suffix("_INIT") {
                let kind = stem.to_lowercase();
                body += &format!("    {{ {kind} o = {constant}; use(&o); }}\n");
            } else if constant != "RT_API" {
                body += &format!("    total += (uint64_t)({constant});\n");
            }
        }
    }
    for function in generate().functions {
        body += &format!("    total += (uint64_t)({} != 0);\n", function.name);
    }
    format!(
        "#include <libruntime/runtime.h>\n\
         static int count;\n\
         static void use(const void *o) {{ if (o != NULL) {{ count++; }} }}\n\
         uint64_t {function}(void);\n\
         uint64_t {function}(void) {{\n    uint64_t total = 0;\n{body}\
         \x20   return total + (uint64_t)count;\n}}\n"
    )
}

#[test]
fn header_compiles_alone_in_every_standard_and_two_units_link() {
    let folder = scratch("matrix");
    let include = root().join("include");
    std::fs::write(folder.join("one.c"), unit("one")).unwrap();
    std::fs::write(folder.join("two.c"), unit("two")).unwrap();
    let main = "#include <libruntime/runtime.h>\n\
                extern uint64_t one(void);\nextern uint64_t two(void);\n\
                int main(void) { return one() == two() ? (int)rt_abi_version() : 9; }\n";
    std::fs::write(folder.join("main.c"), main).unwrap();
    let mut compiled = 0;
    for (compiler, language, standards) in [
        ("gcc", "c", &["c99", "c11", "c17", "c2x"][..]),
        ("clang", "c", &["c99", "c11", "c17", "c2x"]),
        ("g++", "c++", &["c++11", "c++14", "c++17", "c++20"]),
        ("clang++", "c++", &["c++11", "c++14", "c++17", "c++20"]),
    ] {
        if !has(compiler) {
            continue;
        }
        for standard in standards {
            let program = folder.join(format!("{compiler}-{standard}"));
            let mut command = Command::new(compiler);
            command
                .arg(format!("-std={standard}"))
                .args([
                    "-pedantic",
                    "-Wall",
                    "-Wextra",
                    "-Wundef",
                    "-Wstrict-aliasing",
                    "-Werror",
                ])
                // The test itself compares the addresses of functions with 0.
                .arg("-Wno-address")
                .arg("-I")
                .arg(&include)
                .args(["-x", language])
                .args([
                    folder.join("one.c"),
                    folder.join("two.c"),
                    folder.join("main.c"),
                ])
                .args(["-x", "none"])
                .arg(library())
                .arg("-o")
                .arg(&program);
            run(&mut command);
            run(Command::new(&program).env("LD_LIBRARY_PATH", library_folder()));
            compiled += 1;
        }
    }
    assert!(compiled >= 4, "no C compiler was found");
}

/// The program of the overview and the one of the README do what they say.
#[test]
fn programs_of_the_overview_and_the_readme_run() {
    let folder = scratch("programs");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, source, output) in [
        ("program", here.join("tests/header/program.c"), "3\n2\n1\n"),
        (
            "hello",
            root().join("examples/c/hello.c"),
            "hello, a second later\n",
        ),
    ] {
        let program = folder.join(name);
        let mut command = Command::new("cc");
        command
            .args(["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-I"])
            .arg(root().join("include"))
            .arg(&source)
            .arg(library())
            .arg("-o")
            .arg(&program);
        run(&mut command);
        let output_of = run(Command::new(&program).env("LD_LIBRARY_PATH", library_folder()));
        assert_eq!(String::from_utf8_lossy(&output_of.stdout), output, "{name}");
    }
    let lines = std::fs::read_to_string(here.join("tests/header/program.c")).unwrap();
    assert!(
        lines.lines().count() <= 28,
        "the overview's program is to fit a screen"
    );
}

#[test]
fn exported_symbols_are_those_of_the_header() {
    let declared: BTreeSet<String> = generate().functions.into_iter().map(|f| f.name).collect();
    let output = run(Command::new("nm")
        .args(["-D", "--defined-only"])
        .arg(library()));
    let exported: BTreeSet<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .map(str::to_owned)
        .collect();
    assert_eq!(exported, declared);
    assert!(exported.iter().all(|name| name.starts_with("rt_")));
}

#[test]
fn shared_library_has_its_name_and_stays_mapped() {
    let output = run(Command::new("readelf").args(["-d", "-W"]).arg(library()));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Library soname: [libruntime.so.0]"), "{text}");
    assert!(text.contains("NODELETE"), "{text}");
}
