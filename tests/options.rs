//! The options as a page's form and TypeScript see them, made from the one config struct: from its fields, their doc comments,
//! its defaults and what the command line says of them. `BPTT_WRITE=1 cargo test --test options` writes the files again.
#![cfg(feature = "cli")]

use std::any::TypeId;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use bptt::config::{Config, Task};
use clap::builder::PossibleValue;
use clap::{Arg, ArgAction, Args, Command};
use serde_json::{Map, Value, json};

/// What a form shows for an option.
struct Field {
    name: String,
    group: String,
    help: String,
    value: String,
    kind: &'static str,
    choices: Vec<PossibleValue>,
}

fn fields() -> Vec<Field> {
    let command = Config::augment_args(Command::new("bptt"));
    let mut fields: Vec<Field> = command.get_arguments().map(field).collect();
    // The command line has the seed as a flag of its own.
    let seed =
        Field { name: "seed".into(), help: comment("seed"), ..field(&Arg::new("seed").help_heading("Training")) };
    fields.push(Field { kind: "integer", value: "N".into(), ..seed });
    fields
}

fn field(arg: &Arg) -> Field {
    let names = arg.get_value_names().unwrap_or_default();
    let kind = kind(arg);
    Field {
        name: arg.get_id().to_string(),
        group: arg.get_help_heading().unwrap_or_default().into(),
        help: arg.get_help().map(ToString::to_string).unwrap_or_default(),
        value: names.iter().map(|name| name.as_str()).collect(),
        kind,
        choices: if kind == "choice" { arg.get_possible_values() } else { Vec::new() },
    }
}

fn kind(arg: &Arg) -> &'static str {
    let parser = arg.get_value_parser();
    let is = |id: TypeId| parser.type_id() == id;
    let several = matches!(arg.get_action(), ArgAction::Append);
    if is(TypeId::of::<usize>()) || is(TypeId::of::<i64>()) || is(TypeId::of::<u64>()) {
        "integer"
    } else if is(TypeId::of::<f64>()) {
        if several { "numbers" } else { "number" }
    } else if is(TypeId::of::<bool>()) {
        "flag"
    } else if is(TypeId::of::<PathBuf>()) {
        "file"
    } else if is(TypeId::of::<String>()) {
        if several { "texts" } else { "text" }
    } else {
        "choice"
    }
}

/// The doc comment of a field that clap does not know.
fn comment(field: &str) -> String {
    let source = include_str!("../src/config.rs");
    let (before, _) = source.split_once(&format!("pub {field}: ")).expect("the field");
    let comment = before.lines().rev().find_map(|line| line.trim().strip_prefix("/// ")).expect("a comment");
    comment.split(" (also").next().unwrap_or(comment).into()
}

fn defaults(task: Task) -> Map<String, Value> {
    match serde_json::to_value(Config::defaults(task, false)) {
        Ok(Value::Object(map)) => map,
        other => panic!("{other:?}"),
    }
}

const HEAD: &str = "// Made from src/config.rs by tests/options.rs, which says how to make it again. Do not edit.\n";

/// The list for forms, and each task's defaults.
fn script() -> String {
    let plain = defaults(Task::Forecast);
    let mut text = format!("{HEAD}\nexport const OPTIONS = [\n");
    for Field { name, group, help, value, kind, choices } in fields() {
        let default = plain.get(&name).cloned().unwrap_or(Value::Null);
        let choice = |choice: &PossibleValue| {
            let help = choice.get_help().map(ToString::to_string).unwrap_or_default();
            json!({ "name": choice.get_name(), "help": help })
        };
        let choices: Vec<Value> = choices.iter().map(choice).collect();
        let object = json!({
            "name": name, "group": group, "help": help, "kind": kind, "optional": default.is_null(),
            "default": default, "value": value, "choices": choices,
        });
        writeln!(text, "  {object},").unwrap();
    }
    text += "];\n\nexport const DEFAULTS = {\n";
    for (name, task) in TASKS {
        writeln!(text, "  {name}: {},", Value::Object(defaults(task))).unwrap();
    }
    text + "};\n"
}

const TASKS: [(&str, Task); 4] =
    [("forecast", Task::Forecast), ("text", Task::Text), ("adding", Task::Adding), ("copying", Task::Copying)];

/// The same for TypeScript.
fn types() -> String {
    let mut text = format!(
        "{HEAD}\n/** The options of a run: what is left out has the default of its task. */\nexport interface Options {{\n"
    );
    for Field { name, help, kind, choices, .. } in fields() {
        let named: Vec<String> = choices.iter().map(|choice| format!("{:?}", choice.get_name())).collect();
        let kind = match kind {
            "integer" | "number" => "number".into(),
            "numbers" => "number[]".into(),
            "flag" => "boolean".into(),
            "texts" => "string[]".into(),
            "choice" => named.join(" | "),
            _ => "string".to_owned(),
        };
        writeln!(text, "  /** {help} */\n  {name}?: {kind};").unwrap();
    }
    text + "}\n
/** What a form shows for an option. */
export interface Option {
  name: keyof Options;
  group: string;
  help: string;
  kind: \"integer\" | \"number\" | \"numbers\" | \"flag\" | \"choice\" | \"text\" | \"texts\" | \"file\";
  /** Whether it may be left out without a default in its place. */
  optional: boolean;
  default: number | number[] | boolean | string | string[] | null;
  /** What stands for its value, such as `N` or `RATE`. */
  value: string;
  choices: { name: string; help: string }[];
}

export const OPTIONS: Option[];
export const DEFAULTS: Record<\"forecast\" | \"text\" | \"adding\" | \"copying\", Options>;
"
}

#[track_caller]
fn is_current(file: &str, want: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("BPTT_WRITE").is_some() {
        std::fs::write(&path, want).expect("a file that can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == want, "{file} is not current; `BPTT_WRITE=1 cargo test --test options` writes it");
}

#[test]
fn the_page_has_the_options_of_the_command_line() {
    is_current("web/options.js", &script());
}

#[test]
fn the_types_are_those_of_the_options() {
    is_current("web/options.d.ts", &types());
}

/// Every key that a config file may have is an option with a help text, and the other way round.
#[test]
fn no_option_is_missing() {
    let mut known: Vec<String> = fields().into_iter().map(|field| field.name).collect();
    let source = include_str!("../src/config.rs");
    let (_, body) = source.split_once("pub struct Config {").expect("the struct");
    let (body, _) = body.split_once("\n}").expect("its end");
    let named = body.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'));
    let mut fields: Vec<String> = named.map(|(name, _)| name.into()).collect();
    known.sort();
    fields.sort();
    assert_eq!(known, fields);
    assert!(self::fields().iter().all(|field| !field.help.is_empty() && !field.group.is_empty()));
    assert!(defaults(Task::Forecast).keys().all(|key| known.contains(key)));
}

/// The kinds are those of the values.
#[test]
fn kinds_fit_the_defaults() {
    let all: Vec<Map<String, Value>> = TASKS.iter().map(|(_, task)| defaults(*task)).collect();
    for Field { name, kind, choices, .. } in fields() {
        for value in all.iter().filter_map(|defaults| defaults.get(&name)) {
            let fits = match kind {
                "integer" => value.is_i64() || value.is_u64(),
                "number" => value.is_f64(),
                "numbers" | "texts" => value.is_array(),
                "flag" => value.is_boolean(),
                "choice" => choices.iter().any(|choice| *choice.get_name() == *value.as_str().unwrap_or("")),
                _ => value.is_string(),
            };
            assert!(fits, "{name} is a {kind}, and its default {value}");
        }
    }
}
