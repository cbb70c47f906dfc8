//! The layers of the crate: imports point down, the words of a layer stay in it, and the library never prints.
//!
//! ```text
//! main.rs, cli/, web.rs → trainer → checkpoint → interop → data, model, tuner → kernels → device     config, error, rng: anywhere
//! ```

use std::path::{Path, PathBuf};

/// Each module's rank; one imports only from lower ranks and from itself.
const LAYERS: &[(&str, u32)] = &[
    ("main", 9),
    ("web", 9),
    ("cli", 8),
    ("trainer", 7),
    ("forecaster", 7),
    ("generator", 7),
    ("inspector", 7),
    ("checkpoint", 6),
    ("interop", 5),
    ("model", 3),
    ("data", 3),
    ("tuner", 3),
    ("kernels", 2),
    ("device", 1),
    ("config", 0),
    ("error", 0),
    ("order", 0),
    ("rng", 0),
];
/// Usable by all, and by each other.
const LEAVES: &[&str] = &["config", "error", "order", "rng"];
/// The map of the crate: it names every module.
const MAP: &str = "lib";

fn rank(module: &str) -> Option<u32> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

/// One Rust file: its path below `src/` and its text without comments and without the contents of strings.
struct Source {
    path: String,
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), code: code(text) }
    }

    /// Names of the modules around it, itself last: `kernels/lstm/gpu.rs` is `[kernels, lstm, gpu]`.
    fn modules(&self) -> Vec<&str> {
        let path = self.path.trim_end_matches(".rs");
        path.split('/').filter(|name| *name != "mod").collect()
    }

    fn top(&self) -> &str {
        self.modules()[0]
    }

    /// The top-level modules that its paths lead to: `crate::x`, `bptt::x`, groups of these, and `super::` out of its own.
    fn imports(&self) -> Vec<String> {
        let mut found = Vec::new();
        let depth = self.modules().len();
        for root in ["crate::", "bptt::"] {
            for (place, rest) in after(&self.code, root) {
                // `$crate::` in a macro leads where `crate::` does.
                if place == 0 || !self.code[..place].ends_with(is_name) {
                    found.extend(first_names(rest));
                }
            }
        }
        for (place, rest) in after(&self.code, "super::") {
            if self.code[..place].ends_with("super::") {
                continue;
            }
            let mut rest = rest;
            let mut levels = 1;
            while let Some(further) = rest.strip_prefix("super::") {
                (rest, levels) = (further, levels + 1);
            }
            if levels >= depth {
                // A private item of the crate's root would not be a module; an inline `mod tests` is one level more.
                found.extend(first_names(rest).into_iter().filter(|name| rank(name).is_some()));
            }
        }
        found.sort();
        found.dedup();
        found
    }

    fn names(&self, word: &str) -> bool {
        after(&self.code, word)
            .iter()
            .any(|(place, rest)| !rest.starts_with(is_name) && (*place == 0 || !self.code[..*place].ends_with(is_name)))
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let top = self.top();
        if top != MAP {
            match rank(top) {
                None => problems.push(format!("`{top}` stands in no layer")),
                Some(own) => {
                    for import in self.imports() {
                        problems.extend(import_problem(top, own, &import));
                    }
                }
            }
        }
        let shell = matches!(top, "main" | "cli");
        if !matches!(top, "device" | "kernels") && self.names("wgpu") {
            problems.push("names wgpu".into());
        }
        for word in ["wasm_bindgen", "wasm_bindgen_futures", "js_sys", "web_sys"] {
            if top != "web" && self.names(word) {
                problems.push("names JavaScript".into());
            }
        }
        for print in ["println", "eprintln", "print", "eprint", "dbg"] {
            if !shell && self.names(&format!("{print}!")) {
                problems.push(format!("calls {print}!"));
            }
        }
        if matches!(top, "device" | "kernels" | "model") && self.names("std::fs") {
            problems.push("opens files".into());
        }
        if matches!(top, "data" | "model") && ["Gpu", "GpuBuffer", "GpuOptions"].iter().any(|word| self.names(word)) {
            problems.push("names the GPU".into());
        }
        problems.into_iter().map(|problem| format!("src/{}: {problem}", self.path)).collect()
    }
}

fn import_problem(top: &str, own: u32, import: &str) -> Option<String> {
    let Some(other) = rank(import) else {
        // A shell's crate has items of its own at its root.
        return (own < rank("cli")?).then(|| format!("imports `{import}`, which stands in no layer"));
    };
    let allowed = import == top || LEAVES.contains(&import) || (own > other && !LEAVES.contains(&top));
    (!allowed).then(|| format!("imports `{import}`, which does not lie below `{top}`"))
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every place of `what`, and the text after it.
fn after<'a>(text: &'a str, what: &str) -> Vec<(usize, &'a str)> {
    text.match_indices(what).map(|(place, _)| (place, &text[place + what.len()..])).collect()
}

/// The first names of a path or of a group of paths: `a` of `a::b`; `a` and `b` of `{a::c, b}`.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| is_name(*c)).collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return Vec::from([name(path)]) };
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (place, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(name(group[start..place].trim_start()));
                start = place + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.into_iter().filter(|name| !name.is_empty()).collect()
}

/// `text` without comments, and with empty strings.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if c == '"' {
            code.push_str("\"\"");
            string_length(rest)
        } else if let Some(hashes) = raw_string(rest, &code) {
            code.push_str("\"\"");
            let end = format!("\"{}", "#".repeat(hashes));
            let start = 2 + hashes;
            rest[start..].find(&end).map_or(rest.len(), |found| start + found + end.len())
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            code.push_str("' '");
            rest[1..].find("'").map_or(rest.len(), |end| end + 2)
        } else {
            code.push(c);
            c.len_utf8()
        };
        rest = &rest[skip..];
    }
    code
}

/// The length of the string literal that `text` begins with.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (place, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return place + 1,
            _ => {}
        }
    }
    text.len()
}

/// The number of `#` if a raw string begins here.
fn raw_string(text: &str, before: &str) -> Option<usize> {
    let rest = text.strip_prefix('r').filter(|_| !before.ends_with(is_name) || before.ends_with('b'))?;
    let hashes = rest.chars().take_while(|c| *c == '#').count();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// Every Rust file below `src/`.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut sources) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let below = path.strip_prefix(&root).expect("a path below src");
                let parts: Vec<_> = below.iter().map(|part| part.to_str().expect("a path in UTF-8")).collect();
                sources.push(Source::new(&parts.join("/"), &std::fs::read_to_string(&path).expect("a text")));
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

#[test]
fn every_file_keeps_to_its_layer() {
    let sources = sources();
    assert!(sources.len() >= 30, "only {} files were found", sources.len());
    let imports: usize = sources.iter().map(|source| source.imports().len()).sum();
    assert!(imports >= 40, "only {imports} imports were found");
    let problems: Vec<_> = sources.iter().flat_map(Source::problems).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The words are where they belong, so that the search for them is known to find them.
#[test]
fn the_words_are_found_where_they_belong() {
    let sources = sources();
    let naming = |word: &str| -> Vec<_> {
        sources.iter().filter(|source| source.names(word)).map(|source| source.path.as_str()).collect()
    };
    assert!(naming("wgpu").contains(&"device/gpu.rs"));
    assert!(naming("std::fs").contains(&"data/csv_file.rs"));
    assert!(naming("wasm_bindgen").contains(&"web/run.rs"));
    assert!(naming("GpuBuffer").contains(&"kernels/lstm/gpu.rs"));
}

fn problems(path: &str, text: &str) -> String {
    Source::new(path, text).problems().join("\n")
}

#[test]
fn breaches_are_noticed() {
    let breaches = [
        ("device/gpu.rs", "use crate::kernels::Matrix;", "imports `kernels`"),
        ("kernels/lstm/mod.rs", "use crate::{device::Gpu, model::{Network, Shape}};", "imports `model`"),
        ("kernels/loss.rs", "fn f() -> crate::trainer::Event {}", "imports `trainer`"),
        ("kernels/lstm/cpu.rs", "use super::super::super::data::Series;", "imports `data`"),
        ("data/mod.rs", "use crate::model::Network;", "imports `model`"),
        ("model/mod.rs", "use crate::data::Series;", "imports `data`"),
        ("rng.rs", "use crate::device::Real;", "imports `device`"),
        ("config.rs", "use super::kernels::Rule;", "imports `kernels`"),
        ("checkpoint.rs", "macro_rules! m { () => { $crate::trainer::Trainer } }", "imports `trainer`"),
        ("trainer.rs", "use crate::cli::plot;", "imports `cli`"),
        ("cli/plot.rs", "use crate::main::f;", "imports `main`"),
        ("helpers.rs", "", "stands in no layer"),
        ("model/mod.rs", "use crate::helpers::f;", "stands in no layer"),
        ("cli/run.rs", "use wgpu::Adapter;", "names wgpu"),
        ("model/mod.rs", "let limits = ::wgpu::Limits::default();", "names wgpu"),
        ("device/gpu.rs", "use js_sys::Array;", "names JavaScript"),
        ("trainer/events.rs", "#[wasm_bindgen::prelude::wasm_bindgen] struct S;", "names JavaScript"),
        ("web/run.rs", "use wgpu::Device;", "names wgpu"),
        ("trainer.rs", "use crate::web::Run;", "imports `web`"),
        ("web.rs", "fn f() { println!(\"{}\", 1) }", "calls println!"),
        ("trainer.rs", "fn f() { println!(\"{}\", 1) }", "calls println!"),
        ("device/cpu.rs", "fn f() { std::eprintln!() }", "calls eprintln!"),
        ("data/mod.rs", "fn f() { print!(\"a\") }", "calls print!"),
        ("kernels/mod.rs", "use std::fs;", "opens files"),
        ("model/init.rs", "std::fs::read(path)", "opens files"),
        ("model/init.rs", "let s = r#\"a \"quoted\" text\"#; use std::fs;", "opens files"),
        ("model/init.rs", "use crate::device::Gpu;", "names the GPU"),
    ];
    for (path, text, expected) in breaches {
        let found = problems(path, text);
        assert!(found.contains(expected) && found.lines().count() == 1, "{path}: `{text}` gives `{found}`");
    }
}

#[test]
fn what_is_allowed_is_no_breach() {
    let allowed = [
        ("main.rs", "mod cli; use bptt::{trainer::Trainer, config::Config}; fn main() { println!(\"{}\", 1) }"),
        ("cli/run.rs", "use bptt::trainer::Event; use crate::cli::plot; use super::plot; fn f() { eprintln!() }"),
        ("web.rs", "use crate::{trainer::Event, device::Gpu}; use wasm_bindgen::prelude::*;"),
        ("web/run.rs", "use super::values::to_js; use js_sys::Array; use crate::web::source::Source;"),
        ("trainer.rs", "use crate::{checkpoint::Checkpoint, interop::Model, rng::Rng};"),
        ("kernels/lstm/gpu.rs", "use super::super::product::Matrix; use crate::{config::Head, device::{Gpu, Need}};"),
        ("device/gpu.rs", "use wgpu::Device; use crate::error::Result;"),
        ("config.rs", "use crate::error::Error;"),
        ("error.rs", "/// See [`Trainer`](crate::trainer::Trainer), println! and wgpu.\nfn f() {}"),
        (
            "model/mod.rs",
            "let text = \"use crate::trainer::T; \\\" println!()\"; let quote = '\"'; let end = 1; // wgpu",
        ),
        ("data/mod.rs", "fn f() { my_println!(); let sprint = 1; std::fs::read(path) }"),
        ("lib.rs", "pub mod trainer; pub mod device; pub use crate::trainer::Trainer;"),
        ("rng.rs", "mod tests { use super::*; use super::Rng; }"),
    ];
    for (path, text) in allowed {
        assert_eq!(problems(path, text), "", "{path}: `{text}`");
    }
}
