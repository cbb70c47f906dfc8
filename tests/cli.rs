//! The binary as people use it: each test runs `bptt` in a fresh folder of its own and looks at what it prints, at the
//! files it leaves and at its exit code.

#[path = "common/binary.rs"]
mod binary;
mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use binary::{Said, bptt, command, folder, read, resume, table, text, train, training, write};
use bptt::checkpoint::Checkpoint;
use common::compare;
use safetensors::SafeTensors;
use serde_json::Value;

/// The lines of a run's metrics without the times, which no two runs share.
fn metrics(run: &Path) -> Vec<Value> {
    let lines = text(run.join("metrics.jsonl"));
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let seconds = value.as_object_mut().expect("an object").remove("seconds");
        assert!(seconds.is_some_and(|seconds| seconds.as_f64() > Some(0.0)), "{line}");
        value
    };
    lines.lines().map(line).collect()
}

/// Panics unless two runs computed the same.
#[track_caller]
fn assert_same_run(got: &Path, want: &Path) {
    assert!(read(got.join("model.safetensors")) == read(want.join("model.safetensors")), "the models differ");
    assert_eq!(metrics(got), metrics(want));
    assert_eq!(text(got.join("forecast.csv")), text(want.join("forecast.csv")));
    assert_eq!(names(got), names(want), "files");
}

/// The names of the files in `folder`, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort_unstable();
    names
}

/// The folders in `runs/`.
fn runs(folder: &Path) -> Vec<PathBuf> {
    let runs = folder.join("runs");
    if runs.exists() { names(&runs).into_iter().map(|name| runs.join(name)).collect() } else { Vec::new() }
}

/// Waits until `found` finds something.
#[track_caller]
fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "waited a minute for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(unix)]
fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status();
    assert!(sent.expect("kill runs").success(), "kill -{name}");
}

fn said(child: Child) -> Said {
    child.wait_with_output().expect("the process ends").into()
}

/// The keys of an object in order.
fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// Panics unless every element is closed in its turn.
fn assert_well_formed(name: &str, svg: &str) {
    assert!(svg.trim_start().starts_with('<') && svg.contains("<svg"), "{name}: {:.80}", svg);
    let mut open = Vec::new();
    for part in svg.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap_or_else(|| panic!("{name}: no end of <{part}"));
        let element = tag.split_whitespace().next().unwrap_or_default();
        assert!(!text.contains('>') && tag.matches('"').count() % 2 == 0, "{name}: <{part}");
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "{name}: </{closed}>");
        } else if !tag.ends_with('/') && !tag.starts_with(['?', '!']) {
            open.push(element);
        }
    }
    assert!(open.is_empty(), "{name}: {open:?} left open");
}

// Training: what a run prints and leaves behind.

#[test]
fn a_run_fills_its_folder_and_prints_its_scores() {
    let at = folder();
    let said = train(at.path(), &["--json"]).ok();
    let [run] = &runs(at.path())[..] else { panic!("one folder, not {:?}", runs(at.path())) };

    let json = said.json();
    let wanted =
        ["adapter", "baselines", "device", "epochs", "run_dir", "seconds", "steps", "test", "train_loss", "val_loss"];
    assert_eq!(keys(&json), wanted);
    assert_eq!(keys(&json["test"]), ["mae", "mase", "rmse"]);
    assert_eq!(keys(&json["baselines"]), ["repeat_last", "seasonal"]);
    assert_eq!((&json["device"], &json["epochs"], &json["steps"]), (&"cpu".into(), &2.into(), &62.into()));
    assert_eq!(at.path().join(json["run_dir"].as_str().expect("a path")), *run);
    assert!(said.err.contains("computing on the CPU: "), "{}", said.err);
    assert!(said.out.contains("repeat the last value") && said.out.contains("run folder: runs"), "{}", said.out);

    let lines = metrics(run);
    let (ends, steps): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.get("train_loss").is_some());
    assert_eq!((ends.len(), steps.len()), (2, 2));
    assert!(steps.iter().all(|line| keys(line) == ["epoch", "grad_norm", "loss", "lr", "step"]), "{steps:?}");
    for (index, line) in ends.iter().enumerate() {
        assert_eq!(keys(line), ["best", "epoch", "grad_norm", "lr", "step", "train_loss", "val_loss"]);
        assert_eq!(
            (line["epoch"].as_u64(), line["step"].as_u64()),
            (Some(index as u64 + 1), Some(31 * (index as u64 + 1)))
        );
    }
    let best = ends.iter().filter_map(|line| line["val_loss"].as_f64()).fold(f64::INFINITY, f64::min);
    assert_eq!(json["val_loss"].as_f64(), Some(best));

    let forecast = text(run.join("forecast.csv"));
    let rows: Vec<_> = forecast.lines().filter_map(|line| line.split_once(',')).collect();
    let months: Vec<_> = rows.iter().map(|row| row.0).collect();
    assert_eq!(months, ["month", "1984-01", "1984-02", "1984-03", "1984-04"]);
    assert!(rows[1..].iter().all(|row| row.1.parse::<f64>().is_ok_and(f64::is_finite)), "{forecast}");

    let config: toml::Table = text(run.join("config.toml")).parse().expect("TOML");
    assert_eq!((config["window"].as_integer(), config["lr"].as_float()), (Some(24), Some(1e-3)));
    for name in ["loss.svg", "forecast.svg"] {
        assert_well_formed(name, &text(run.join(name)));
    }
    for name in ["model.safetensors", "last.ckpt"] {
        SafeTensors::deserialize(&read(run.join(name))).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// Each loss that knows more than a point writes its quantiles everywhere: CSV, JSON, text and picture.
#[test]
fn quantiles_are_reported() {
    let at = folder();
    write(at.path(), "x.csv", table(300));
    for loss in ["quantile", "gaussian", "student_t"] {
        let targets = ["--target", "price,load", "--quantiles", "0.05,0.5,0.95"];
        let said = train(at.path(), &[&["x.csv", "--loss", loss, "--out", loss, "--json"][..], &targets].concat()).ok();
        let run = at.path().join(loss);
        let forecast = text(run.join("forecast.csv"));
        let header = "month,price,price_q0.05,price_q0.5,price_q0.95,load,load_q0.05,load_q0.5,load_q0.95";
        let lines: Vec<Vec<&str>> = forecast.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!((lines[0].join(",").as_str(), lines.len()), (header, 5));
        for line in &lines[1..] {
            let values: Vec<f64> = line[1..].iter().map(|value| value.parse().expect("a number")).collect();
            // The point forecast is the median; the mean of a symmetric distribution is its median as well.
            compare("median", &[values[0], values[4]], &[values[2], values[6]], 1e-9, 1e-9).unwrap();
            assert!(loss == "quantile" || (values[1] < values[2] && values[2] < values[3]), "{line:?}");
        }
        let svg = text(run.join("forecast.svg"));
        assert_well_formed(loss, &svg);
        assert!(svg.contains("<polygon") && svg.contains("90 %"), "{loss}: no interval");

        let json = said.json();
        assert_eq!(keys(&json["calibration"]), ["coverage", "nominal", "pinball"], "{json}");
        assert!((json["calibration"]["nominal"].as_f64().expect("a number") - 0.9).abs() < 1e-12);
        assert!(said.out.contains("mean pinball loss of the quantiles") && said.out.contains("90 % interval"));
        let again = bptt(at.path(), &["evaluate", loss, "--device", "cpu", "--json"]).ok().json();
        assert_eq!((&again["calibration"], &again["test"]), (&json["calibration"], &json["test"]));
        assert_eq!(bptt(at.path(), &["forecast", loss, "--device", "cpu"]).ok().out, forecast);
        let further = bptt(at.path(), &["forecast", loss, "--horizon", "9", "--device", "cpu", "--json"]).ok();
        assert!(further.out.starts_with(&forecast), "{}", further.out);
        let json = further.json();
        let lengths: Vec<_> = json["quantiles"].as_array().expect("a list").iter().map(|q| &q["values"]).collect();
        assert!(lengths.iter().all(|values| values.as_array().is_some_and(|list| list.len() == 18)), "{json}");
    }
    // One quantile is the point forecast and spans no interval.
    let said = train(at.path(), &["x.csv", "--loss", "quantile", "--quantiles", "0.3", "--json"]).ok();
    assert!(said.json()["calibration"]["coverage"].is_null() && !said.out.contains("interval"), "{}", said.out);
}

#[test]
fn an_svg_that_is_not_well_formed_is_noticed() {
    assert_well_formed("good", r#"<?xml version="1.0"?><svg a="b"><g><path d="M0,0"/>text</g></svg>"#);
    for bad in ["<svg><g></svg></g>", "<svg><g></g>", "<svg>a > b</svg>", "<svg a=\"b></svg>", "<svg><b"] {
        assert!(std::panic::catch_unwind(|| assert_well_formed("bad", bad)).is_err(), "{bad}");
    }
}

#[test]
fn one_seed_is_one_model() {
    let at = folder();
    for (run, seed) in [("a", "7"), ("b", "7"), ("c", "8")] {
        train(at.path(), &["--seed", seed, "--out", run]).ok();
    }
    let model = |run: &str| read(at.path().join(run).join("model.safetensors"));
    assert_same_run(&at.path().join("b"), &at.path().join("a"));
    let parameters = |run: &str| {
        let bytes = model(run);
        SafeTensors::deserialize(&bytes).expect("a model").tensor("fc.weight").expect("a weight").data().to_vec()
    };
    assert!(parameters("a") != parameters("c"), "two seeds give one model");
}

#[test]
fn quiet_is_quiet() {
    let at = folder();
    assert_eq!(train(at.path(), &["-q"]).ok().err, "");
    assert!(train(at.path(), &["-v"]).ok().err.contains("\nstep     31  loss "));
}

#[test]
fn odd_sizes_train() {
    let at = folder();
    for args in [
        &["--window", "1", "--horizon", "1"][..],
        &["--batch-size", "100000"],
        &["--batch-size", "7", "--accumulate", "3"],
        &["--validation-share", "0"],
        &["--train-share", "0.8", "--validation-share", "0.2"],
        &["--epochs", "0"],
        &["--patience", "0"],
        &["--seed", "9223372036854775807"],
        &["--log-every", "9223372036854775807"],
        &["--patience", "9223372036854775807"],
        &["--season", "9223372036854775807"],
    ] {
        let said = train(at.path(), &[args, &["--json", "-q"]].concat());
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{args:?}");
        assert!(said.json()["run_dir"].is_string(), "{args:?}");
    }
    assert_eq!(runs(at.path()).len(), 11);
}

/// Every way to start and to step trains, tells its rates, and is in the folder's config.
#[test]
fn starts_schedules_and_averages_train() {
    let at = folder();
    // Two epochs of 31 steps: the rates of both epochs' last steps.
    let one_cycle = 1e-3 / 25.0 / 1e4;
    let cases: &[(&[&str], &str, [f64; 2])] = &[
        (&["--init-scheme", "xavier"], "init_scheme = \"xavier\"", [1e-3, 1e-3]),
        (&["--init-scheme", "orthogonal", "--chrono", "24"], "chrono = 24", [1e-3, 1e-3]),
        (&["--forget-bias", "-0.5"], "forget_bias = -0.5", [1e-3, 1e-3]),
        (&["--lr-schedule", "step", "--lr-step-epochs", "1"], "lr_schedule = \"step\"", [1e-3, 1e-4]),
        (&["--lr-schedule", "cosine", "--warmup-steps", "62"], "warmup_steps = 62", [5e-4, 1e-3]),
        (&["--warmup-steps", "124"], "warmup_steps = 124", [2.5e-4, 5e-4]),
        (&["--lr-schedule", "one-cycle", "--epochs", "1"], "lr_schedule = \"one-cycle\"", [one_cycle; 2]),
        (&["--lr-schedule", "plateau", "--lr-patience", "0", "--lr-gamma", "0.5"], "lr_gamma = 0.5", [1e-3, 1e-3]),
        (&["--min-delta", "0.25", "--patience", "1"], "min_delta = 0.25", [1e-3, 1e-3]),
        (&["--ema", "0.99"], "ema = 0.99", [1e-3, 1e-3]),
    ];
    for (index, (args, line, rates)) in cases.iter().enumerate() {
        let run = format!("run{index}");
        train(at.path(), &[args, &["--out", &run][..]].concat()).ok();
        let run = at.path().join(run);
        let config = text(run.join("config.toml"));
        assert!(config.lines().any(|found| found == *line), "{args:?}:\n{config}");
        let lines = metrics(&run);
        let ends: Vec<_> = lines.iter().filter(|line| line.get("train_loss").is_some()).collect();
        for (end, rate) in ends.iter().zip(rates) {
            compare(line, &[end["lr"].as_f64().expect("a rate")], &[*rate], 0.0, 1e-9).unwrap();
        }
    }
    let go_on = ["train", "--device", "cpu", "--resume", "run4", "--epochs", "3"];
    bptt(at.path(), &go_on).refused("option `epochs`: ", "follows a curve over all its epochs", "begin a new run");
    // run7 is a plateau: what lies ahead does not hang on the number of epochs.
    bptt(at.path(), &["train", "--device", "cpu", "--resume", "run7", "--epochs", "3"]).ok();
    train(at.path(), &[cases[7].0, &["--epochs", "3", "--out", "whole"][..]].concat()).ok();
    assert_same_run(&at.path().join("run7"), &at.path().join("whole"));
}

// Stopping and going on.

#[cfg(unix)]
#[test]
fn without_arguments_it_trains_on_sunspots_and_ctrl_c_says_how_to_go_on() {
    let at = folder();
    let child = command(at.path(), &[]).spawn().expect("the binary runs");
    let run = wait_for("the run folder", || runs(at.path()).pop().filter(|run| run.join("config.toml").exists()));
    signal(&child, "INT");
    let said = said(child).exits_with(130);
    let name = format!("runs/{}", run.file_name().expect("a name").display());
    assert!(said.err.contains("data: sunspots, 2820 rows, monthly; 132 rows in, 12 ahead"), "{}", said.err);
    assert!(said.err.contains(&format!("go on with: bptt train --resume {name}\n")), "{}", said.err);

    let said = bptt(at.path(), &["train", "--resume", &name, "--epochs", "1", "--json", "--device", "cpu"]).ok();
    let json = said.json();
    assert_eq!((&json["epochs"], &json["run_dir"]), (&1.into(), &name.as_str().into()));
    let rmse = json["baselines"]["repeat_last"]["rmse"].as_f64().expect("a number");
    compare("repeating the last value", &[rmse], &[31.766], 5e-4, 0.0).unwrap();
}

/// Stops a run with `name` again and again, each time a little later, until it is done; returns how often.
#[cfg(unix)]
fn stopped_again_and_again(at: &Path, args: &[&str], name: &str, code: Option<i32>) -> usize {
    use std::io::{BufRead, BufReader, Read};
    let mut child = training(at, &[args, &["--out", "stopped"]].concat()).spawn().expect("the binary runs");
    for stops in 0..100 {
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        // The line of an epoch comes just before its checkpoint is written; the times after it are spread over an epoch.
        let epochs = 2 - stops % 2;
        let reached =
            lines.by_ref().map_while(Result::ok).filter(|line| line.starts_with("epoch")).take(epochs).count();
        std::thread::sleep(Duration::from_micros(stops as u64 * 7919 % 40_000));
        let running = child.try_wait().expect("a process").is_none();
        if reached == epochs && running {
            signal(&child, name);
        }
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        _ = child.stdout.take().expect("a pipe").read_to_end(&mut Vec::new());
        let status = child.wait().expect("the process ends");
        if status.success() {
            return stops;
        }
        assert_eq!(status.code(), code, "{rest:?}");
        if code == Some(130) {
            assert!(rest.iter().any(|line| line.contains("bptt train --resume stopped")), "{rest:?}");
        }
        let resumed = ["train", "--device", "cpu", "--resume", "stopped"];
        child = command(at, &resumed).spawn().expect("the binary runs");
    }
    panic!("it never ends");
}

#[cfg(unix)]
#[test]
fn a_run_that_is_stopped_ends_as_one_that_never_was() {
    let at = folder();
    let args = ["--batch-size", "16", "--epochs", "9", "--log-every", "10", "--patience", "0"];
    train(at.path(), &[&args[..], &["--out", "whole"]].concat()).ok();
    for (name, code) in [("KILL", None), ("INT", Some(130))] {
        let stops = stopped_again_and_again(at.path(), &args, name, code);
        assert!(stops >= 3, "SIG{name} came too late but for {stops} times");
        assert_same_run(&at.path().join("stopped"), &at.path().join("whole"));
        std::fs::remove_dir_all(at.path().join("stopped")).expect("a folder to remove");
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_last_checkpoint_whole() {
    let at = folder();
    let args = ["--hidden-size", "32", "--epochs", "1", "--out"];
    train(at.path(), &[&args[..], &["run"]].concat()).ok();
    let checkpoint = read(at.path().join("run/last.ckpt"));

    // 16 blocks are 8 or 16 KiB: the metrics fit, the model of 18 KiB and the checkpoint do not.
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$0\" train --device cpu --resume run --epochs 3";
    let shell = Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_bptt")]).current_dir(at.path()).output();
    let said = Said::from(shell.expect("sh runs")).exits_with(1);
    assert!(said.err.contains("error: cannot write run/"), "{}", said.err);
    assert!(read(at.path().join("run/last.ckpt")) == checkpoint, "the checkpoint has changed");
    assert!(names(&at.path().join("run")).iter().all(|name| !name.starts_with(".writing-")), "a part is left");

    bptt(at.path(), &["train", "--device", "cpu", "--resume", "run", "--epochs", "3"]).ok();
    train(at.path(), &["--hidden-size", "32", "--epochs", "3", "--out", "whole"]).ok();
    // The configs differ in nothing but the checkpoint's number of epochs, which `--epochs` replaced.
    assert_same_run(&at.path().join("run"), &at.path().join("whole"));
}

#[test]
fn runs_do_not_share_a_folder() {
    let at = folder();
    let both = [0, 1].map(|_| training(at.path(), &["--epochs", "1", "--json"]).spawn().expect("the binary runs"));
    let [first, second] = both.map(|child| said(child).ok().json()["run_dir"].clone());
    assert_ne!(first, second);

    let at_work = ["--epochs", "1000000", "--patience", "0", "--out", "busy"];
    let mut child = training(at.path(), &at_work).stderr(Stdio::null()).spawn().expect("the binary runs");
    wait_for("a checkpoint", || at.path().join("busy/last.ckpt").exists().then_some(()));
    resume(at.path(), "busy").refused("busy: ", "another process is training in it", "another folder");
    assert!(child.try_wait().expect("a process").is_none(), "the first run has ended");
    child.kill().expect("a process to kill");
    child.wait().expect("the process ends");

    train(at.path(), &["--out", "busy"]).refused("busy: ", "is there already", "--resume");
    write(at.path(), "file", "");
    train(at.path(), &["--out", "file"]).refused("file: ", "is there already", "another folder");
    std::fs::create_dir(at.path().join("empty")).expect("a folder");
    train(at.path(), &["--out", "empty"]).ok();
}

#[test]
fn a_run_goes_on_with_its_own_options_and_data_alone() {
    let at = folder();
    write(at.path(), "x.csv", table(300));
    train(at.path(), &["x.csv", "--out", "run"]).ok();
    let go_on = |args: &[&str]| bptt(at.path(), &[&["train", "--device", "cpu", "--resume", "run"], args].concat());
    go_on(&["--window", "12"]).refused("--resume: ", "`window` is given", "--epochs and the data's place can change");
    go_on(&["--seed", "1"]).refused("--resume: ", "`seed` is given", "begin a new run");
    go_on(&["--out", "other"]).exits_with(2);
    assert_eq!(go_on(&["--epochs", "3", "--json"]).ok().json()["epochs"], 3);

    write(at.path(), "x.csv", table(299));
    go_on(&["--epochs", "4"]).refused("", "its values have changed", "begin a new run");
    std::fs::remove_file(at.path().join("x.csv")).expect("a file to remove");
    go_on(&["--epochs", "4"]).refused("", "there is no such file", "");
    resume(at.path(), "nowhere").refused("nowhere: ", "there is no last.ckpt", "begin a new run");
}

// Options and input.

#[test]
fn flags_win_over_the_file_and_the_file_over_the_defaults() {
    let at = folder();
    write(at.path(), "c.toml", "hidden_size = 6\nlr = 0.5\nwindow = 20\nepochs = 1\nseed = 3\n");
    let args = ["train", "--config", "c.toml", "--device", "cpu", "--lr", "0.01", "--num-layers", "1", "--out", "run"];
    bptt(at.path(), &args).ok();
    let config: toml::Table = text(at.path().join("run/config.toml")).parse().expect("TOML");
    let integer = |key: &str| config[key].as_integer();
    assert_eq!(["hidden_size", "window", "epochs", "seed"].map(integer), [6, 20, 1, 3].map(Some), "the file");
    assert_eq!((config["lr"].as_float(), integer("num_layers")), (Some(0.01), Some(1)), "the flags");
    assert_eq!((integer("horizon"), integer("batch_size")), (Some(12), Some(64)), "the defaults");

    for (file, place, problem) in [
        ("window = 20\nepochz = 3\n", "c.toml, line 2: ", "unknown field `epochz`"),
        ("window = 20\n\n\nepochs = \"three\"\n", "c.toml, line 4: ", "string \"three\""),
        ("epochs = -3\n", "c.toml, line 1: ", "integer `-3`"),
        ("# none\nmissing = \"guess\"\n", "c.toml, line 2: ", "unknown variant `guess`"),
        ("window = 20\nwindow = 21\n", "c.toml, line 2: ", "duplicate key"),
    ] {
        write(at.path(), "c.toml", file);
        train(at.path(), &["--config", "c.toml"]).refused(place, problem, "config.toml");
    }
    write(at.path(), "c.toml", "horizon = 0\n");
    bptt(at.path(), &["train", "--config", "c.toml"]).refused("option `horizon`: ", "is 0", "from 1 to");
    train(at.path(), &["--config", "none.toml"]).refused("cannot read none.toml", "", "");
}

#[test]
fn values_that_cannot_be_used_are_refused_before_anything_is_written() {
    let at = folder();
    let huge = "18446744073709551615";
    let large = "4000000000";
    for (flag, value, place) in [
        ("--lr", "nan", "option `lr`: is NaN"),
        ("--lr", "inf", "option `lr`: is inf"),
        ("--lr", "0", "option `lr`: is 0"),
        ("--max-norm", "nan", "option `max_norm`: is NaN"),
        ("--clip-value", "nan", "option `clip_value`: is NaN"),
        ("--beta1", "1", "option `beta1`: is 1"),
        ("--ema", "1", "option `ema`: is 1"),
        ("--ema", "nan", "option `ema`: is NaN"),
        ("--min-delta", "inf", "option `min_delta`: is inf"),
        ("--min-delta", "nan", "option `min_delta`: is NaN"),
        ("--lr-gamma", "0", "option `lr_gamma`: is 0"),
        ("--lr-gamma", "1", "option `lr_gamma`: is 1"),
        ("--lr-gamma", "nan", "option `lr_gamma`: is NaN"),
        ("--lr-min", "0.1", "option `lr_min`: is 0.1, and `lr` is 0.001"),
        ("--lr-min", "nan", "option `lr_min`: is NaN"),
        ("--lr-step-epochs", "0", "option `lr_step_epochs`: is 0"),
        ("--forget-bias", "nan", "option `forget_bias`: is NaN"),
        ("--forget-bias", "-101", "option `forget_bias`: is -101"),
        ("--chrono", "2", "option `chrono`: is 2"),
        ("--train-share", "nan", "option `train_share`: NaN"),
        ("--train-share", "0.99", "option `validation_share`: "),
        ("--window", "0", "option `window`: is 0"),
        ("--window", "5000", "option `window`: "),
        ("--season", "0", "option `season`: is 0"),
        ("--loss", "cross_entropy", "option `loss`: is cross_entropy, but a series has numbers"),
        ("--quantiles", "0.1,0.9", "option `quantiles`: are given, but the loss forecasts none"),
        ("--quantiles", "0.5,0.1", "option `quantiles`: are [0.5, 0.1]"),
        ("--quantiles", "0.5,0.5", "option `quantiles`: are [0.5, 0.5]"),
        ("--quantiles", "0,0.5", "option `quantiles`: are [0.0, 0.5]"),
        ("--quantiles", "0.5,1", "option `quantiles`: are [0.5, 1.0]"),
        ("--quantiles", "nan", "option `quantiles`: are [NaN]"),
        ("--label-smoothing", "1", "option `label_smoothing`: is 1"),
        ("--label-smoothing", "0.1", "option `label_smoothing`: is given, but the loss knows no classes"),
        ("--ignore-index", "-20000000", "option `ignore_index`: is -20000000"),
        ("--seed", huge, "option `seed`: is above"),
        ("--epochs", huge, "the options: "),
        ("--window", large, "option `window`: is 4000000000"),
        ("--horizon", large, "option `horizon`: is 4000000000"),
        ("--hidden-size", large, "option `hidden_size`: is 4000000000"),
        ("--num-layers", large, "option `num_layers`: is 4000000000"),
        ("--batch-size", large, "option `batch_size`: is 4000000000"),
        ("--accumulate", large, "option `accumulate`: is 4000000000"),
    ] {
        train(at.path(), &[flag, value]).refused(place, "", " ");
    }
    for args in [&["--lr=-1"][..], &["--hidden-size", "-1"], &["--seed", "1e9"], &["--bogus"], &["a.csv", "b.csv"]] {
        train(at.path(), args).refused("", "", "");
    }
    for (args, place, problem, remedy) in [
        (&["--chrono", "50", "--forget-bias", "1"][..], "option `chrono`: ", "sets what `forget_bias`", "leave one"),
        (&["--chrono", "50", "--bias", "false"], "option `chrono`: ", "`bias` is false", "leave one"),
        (&["--forget-bias", "1", "--bias", "false"], "option `forget_bias`: ", "`bias` is false", "leave one"),
        (&["--init", "m.safetensors", "--init-scheme", "xavier"], "option `init`: ", "from a file", "leave one"),
        (&["--init", "m.safetensors", "--chrono", "9"], "option `init`: ", "from a file", "leave one"),
        (
            &["--lr-schedule", "one-cycle", "--warmup-steps", "9"],
            "option `warmup_steps`: ",
            "`cosine` only",
            "choose one of these",
        ),
        (
            &["--lr-schedule", "plateau", "--warmup-steps", "9"],
            "option `warmup_steps`: ",
            "`cosine` only",
            "choose one of these",
        ),
        (
            &["--lr-schedule", "plateau", "--validation-share", "0"],
            "option `lr_schedule`: ",
            "goes by the validation loss",
            "raise `validation_share`",
        ),
    ] {
        train(at.path(), args).refused(place, problem, remedy);
    }
    for args in [&["--lr-schedule", "onecycle"][..], &["--init-scheme", "random"], &["--ema", "much"]] {
        train(at.path(), args).refused("", "", "");
    }
    let said = train(at.path(), &["--hidden-size", "200000"]);
    said.refused("this run needs 2987.", "memory this machine has left", "lower `hidden_size` or `num_layers`");
    assert!(runs(at.path()).is_empty(), "{:?}", runs(at.path()));
}

#[test]
fn files_that_cannot_be_used_are_refused() {
    let at = folder();
    let good = table(300);
    let with = |line: usize, new: &[u8]| {
        let lines = good.lines().enumerate().map(|(index, old)| if index + 1 == line { new } else { old.as_bytes() });
        lines.collect::<Vec<_>>().join(&b'\n')
    };
    let constant: String = good
        .lines()
        .map(|line| format!("{line},{}\n", if line == "month,load,price" { "flat" } else { "3" }))
        .collect();
    write(at.path(), "empty.csv", "");
    write(at.path(), "text.csv", with(5, b"1950-04,oops,1"));
    write(at.path(), "hole.csv", with(7, b"1950-06,,1"));
    write(at.path(), "latin.csv", with(9, b"1950-08,\xe9,1"));
    write(at.path(), "short.csv", table(20));
    write(at.path(), "constant.csv", constant);
    write(at.path(), "good.csv", &good);
    std::fs::create_dir(at.path().join("sub")).expect("a folder");
    for (args, place, problem, remedy) in [
        (&["none.csv"][..], "none.csv: ", "no such file", "check its name"),
        (&["sub"], "sub: ", "this is a folder", "CSV file"),
        (&["empty.csv"], "empty.csv: ", "empty", "column names"),
        (&["text.csv"], "text.csv, line 5, column `load`: ", "`oops` is not a number", "`features` and `target`"),
        (&["hole.csv"], "hole.csv, line 7, column `load`: ", "missing", "--missing interpolate"),
        (&["latin.csv"], "latin.csv, line 9: ", "0xE9 is not UTF-8", "save the file as UTF-8"),
        (&["short.csv"], "option `window`: ", "has 14 rows", "lower `window`"),
        (&["constant.csv"], "constant.csv, column `flat`: ", "the target is 3 in all", "choose another column"),
        (&["good.csv", "--target", "cost"], "good.csv: ", "no column `cost`", "`load`, `price`"),
        (&["good.csv", "--features", "cost"], "good.csv: ", "no column `cost`", "`load`, `price`"),
        (
            &["good.csv", "--time", "load"],
            "good.csv, line 9, column `load`: ",
            "earlier than the line before",
            "sort the rows",
        ),
    ] {
        train(at.path(), args).refused(place, problem, remedy);
    }
    assert!(runs(at.path()).is_empty(), "{:?}", runs(at.path()));
    let said = train(at.path(), &["hole.csv", "--missing", "interpolate"]).ok();
    assert!(said.err.contains("note: ") && said.err.contains("load"), "{}", said.err);
}

#[test]
fn odd_names_are_only_names() {
    let at = folder();
    let name = "Ma folder è 日本/x y.csv";
    std::fs::create_dir_all(at.path().join(name).parent().expect("a parent")).expect("a folder");
    let tag = "<b onload=\"x\">&amp;'";
    let long = "n".repeat(5000);
    let quoted = format!("month,{long},\"{}\"", tag.replace('"', "\"\""));
    write(at.path(), name, table(300).replace("month,load,price", &quoted).replace('\n', "\r\n"));
    train(at.path(), &[name, "--target", tag, "--out", "l'été <1>"]).ok();
    let run = at.path().join("l'été <1>");
    assert_well_formed("forecast.svg", &text(run.join("forecast.svg")));
    let mut forecast = csv::Reader::from_path(run.join("forecast.csv")).expect("a file");
    assert_eq!(forecast.headers().expect("a header"), vec!["month", tag]);
    assert_eq!(forecast.records().count(), 4);
    bptt(at.path(), &["evaluate", "l'été <1>", "--device", "cpu"]).ok();
    resume(at.path(), "l'été <1>").ok();

    train(at.path(), &[name, "--target", &long]).ok();
    assert_well_formed("forecast.svg", &text(runs(at.path())[0].join("forecast.svg")));
}

// The other commands.

#[test]
fn a_model_is_used_on_its_own_data_and_on_other() {
    let at = folder();
    write(at.path(), "x.csv", table(300));
    write(at.path(), "longer.csv", table(400));
    write(at.path(), "wrong.csv", table(300).replace("load", "mass"));
    let trained = train(at.path(), &["x.csv", "--out", "run", "--json"]).ok().json();
    std::fs::copy(at.path().join("run/model.safetensors"), at.path().join("model.safetensors")).expect("a copy");
    let evaluate = |args: &[&str]| bptt(at.path(), &[&["evaluate", "--device", "cpu", "--json"], args].concat());
    let forecast = |args: &[&str]| bptt(at.path(), &[&["forecast", "--device", "cpu"], args].concat());

    for args in [&["run"][..], &["run", "x.csv"], &["model.safetensors", "x.csv"]] {
        let json = evaluate(args).ok().json();
        assert_eq!(keys(&json), ["adapter", "baselines", "device", "test", "windows"]);
        assert_eq!((&json["test"], &json["baselines"]), (&trained["test"], &trained["baselines"]), "{args:?}");
        assert_eq!(forecast(args).ok().out, text(at.path().join("run/forecast.csv")), "{args:?}");
    }
    let (part, all) = (evaluate(&["run"]).ok().json(), evaluate(&["run", "--all"]).ok().json());
    assert!(all["windows"].as_u64() > part["windows"].as_u64(), "{all} and {part}");
    assert!(forecast(&["run", "longer.csv"]).ok().out.contains("\n1983-05,"), "400 months end in 1983-04");

    let said = forecast(&["run", "-o", "ahead.csv", "--json"]).ok();
    assert_eq!(text(at.path().join("ahead.csv")), text(at.path().join("run/forecast.csv")));
    assert_eq!(said.json()["labels"], serde_json::json!(["1975-01", "1975-02", "1975-03", "1975-04"]));
    assert_eq!(forecast(&["run", "--horizon", "2"]).ok().out.lines().count(), 3);

    forecast(&["run", "--horizon", "5"]).refused("option `horizon`: ", "the model forecasts 4 rows", "use 1 to 4");
    forecast(&["run", "--horizon", "0"]).refused("option `horizon`: ", "is 0", "");
    evaluate(&["model.safetensors"]).refused("the command: ", "no data file is given", "name the CSV file or the text");
    evaluate(&["run", "wrong.csv"]).refused("wrong.csv: ", "there is no column `load`", "`mass`");
    forecast(&["run", "wrong.csv"]).refused("wrong.csv: ", "there is no column `load`", "`mass`");

    let model = read(at.path().join("model.safetensors"));
    for end in [0, 7, 100, model.len() / 2, model.len() - 1] {
        write(at.path(), "cut.safetensors", &model[..end]);
        forecast(&["cut.safetensors", "x.csv"]).refused("cut.safetensors: ", "not a whole safetensors file", "");
    }
    evaluate(&["x.csv"]).refused("x.csv: ", "not a whole safetensors file", "safetensors");
    evaluate(&["none"]).refused("none: ", "no such file or folder", "give a run folder");
}

/// Text, JSON and picture of a model's gradient through time, of a run and of a lone model.
#[test]
fn a_models_gradient_is_shown_through_time() {
    let at = folder();
    write(at.path(), "x.csv", table(300));
    train(at.path(), &["x.csv", "--out", "run", "--num-layers", "2"]).ok();
    std::fs::copy(at.path().join("run/model.safetensors"), at.path().join("model.safetensors")).expect("a copy");
    let inspect = |args: &[&str]| bptt(at.path(), &[&["inspect", "--device", "cpu"], args].concat());

    let said = inspect(&["run", "--json"]).ok();
    for words in
        ["x.csv: 42 windows of 24 rows", "rows back", "layer 1", "i < 0.1", "memory in rows", "verdict: the gra"]
    {
        assert!(said.out.contains(words), "{words} in\n{}", said.out);
    }
    assert!(said.out.contains("may help: ") && said.out.contains("logged steps were clipped"), "{}", said.out);
    let json = said.json();
    let wanted = ["adapter", "clipping", "device", "layers", "picture", "verdict", "window", "windows"];
    assert_eq!(keys(&json), wanted);
    assert_eq!(keys(&json["verdict"]), ["advice", "because", "finding"]);
    let layers = json["layers"].as_array().expect("a list");
    assert_eq!((layers.len(), &json["clipping"]["logged"]), (2, &2.into()));
    for layer in layers {
        let wanted = ["far_to_near", "gates", "gradient", "last_step", "layer", "reach", "reverse"];
        assert_eq!(keys(layer), wanted);
        let norms = layer["gradient"].as_array().expect("a list");
        assert!(norms.len() == 24 && norms.iter().all(|norm| norm.as_f64() > Some(0.0)), "{norms:?}");
        assert_eq!(layer["gradient"], layer["last_step"]);
    }
    let picture = text(at.path().join("run/gradient.svg"));
    assert_well_formed("gradient.svg", &picture);
    assert!(picture.contains("layer 0") && picture.contains("prefers-color-scheme: dark"), "{picture}");

    // The same model alone has no run and no place for a picture.
    let alone = inspect(&["model.safetensors", "x.csv", "--json"]).ok().json();
    assert_eq!(keys(&alone), ["adapter", "device", "layers", "verdict", "window", "windows"]);
    assert_eq!(alone["layers"], json["layers"]);
    write(at.path(), "here.svg", "old");
    inspect(&["model.safetensors", "x.csv", "-o", "here.svg", "--windows", "5"]).ok();
    assert_well_formed("here.svg", &text(at.path().join("here.svg")));
    assert_eq!(inspect(&["run", "--windows", "5", "--json"]).ok().json()["windows"], 5);

    write(at.path(), "wrong.csv", table(300).replace("load", "mass"));
    write(at.path(), "short.csv", table(20));
    std::fs::create_dir(at.path().join("empty")).expect("a folder");
    inspect(&["none"]).refused("none: ", "no such file or folder", "give a run folder");
    inspect(&["empty"]).refused("empty: ", "there is no model.safetensors in it", "after its first epoch");
    inspect(&["model.safetensors"]).refused("the command: ", "no data file is given", "name the CSV file");
    inspect(&["run", "wrong.csv"]).refused("wrong.csv: ", "there is no column `load`", "`mass`");
    inspect(&["run", "short.csv"]).refused("option `window`: ", "has 14 rows", "use a longer series");
    inspect(&["run", "x.csv", "--windows", "0"]).refused("", "0", "");
}

/// Models that cannot learn a long dependence are told from those that can.
#[test]
fn what_becomes_of_the_gradient_is_said() {
    let at = folder();
    for (run, bias, head, finding) in [
        ("forgets", "-5", "last", "vanishes"),
        ("every", "-5", "every", "vanishes"),
        ("remembers", "5", "last", "reaches"),
    ] {
        train(at.path(), &["--out", run, "--forget-bias", bias, "--head", head, "--epochs", "1"]).ok();
        let said = bptt(at.path(), &["inspect", run, "--device", "cpu", "--json"]).ok();
        assert_eq!(said.json()["verdict"]["finding"], finding, "{}", said.out);
        assert_eq!(said.out.contains("of the loss at the last row alone"), head == "every", "{}", said.out);
        let picture = text(at.path().join(run).join("gradient.svg"));
        assert_eq!(picture.contains("∂(loss at the last row)/∂h"), head == "every", "{picture}");
        assert_eq!(said.out.contains("--chrono"), finding == "vanishes", "{}", said.out);
    }
}

#[cfg(unix)]
#[test]
fn links_and_devices_are_written_to_and_not_replaced() {
    use std::os::unix::fs::symlink;
    let at = folder();
    train(at.path(), &["--out", "run"]).ok();
    let forecast = |to: &str| bptt(at.path(), &["forecast", "run", "--device", "cpu", "-o", to]);
    let own = text(at.path().join("run/forecast.csv"));
    write(at.path(), "target.csv", "old");
    for (link, target) in [("link.csv", "target.csv"), ("out.csv", "/dev/stdout"), ("full.csv", "/dev/full")] {
        symlink(target, at.path().join(link)).expect("a link");
    }
    forecast("link.csv").ok();
    assert_eq!(text(at.path().join("target.csv")), own);
    assert!(forecast("out.csv").ok().out.starts_with(&own));
    assert!(["link.csv", "out.csv"].iter().all(|link| at.path().join(link).is_symlink()), "a link is replaced");
    if cfg!(target_os = "linux") {
        let said = forecast("full.csv").exits_with(1);
        assert!(said.err.contains("error: cannot write "), "{}", said.err);
        let full = || std::fs::File::create("/dev/full").expect("a full disk");
        for args in [&["devices"][..], &["man"], &["completions", "zsh"], &["forecast", "run", "--device", "cpu"]] {
            let output = command(at.path(), args).stdout(full()).output().expect("the binary runs");
            let said = Said::from(output).exits_with(1);
            assert!(said.err.contains("error: cannot write stdout: "), "{}", said.err);
        }
    }
}

#[test]
fn one_column_is_forecast_as_far_as_wanted() {
    let at = folder();
    train(at.path(), &["--out", "run"]).ok();
    std::fs::copy(at.path().join("run/model.safetensors"), at.path().join("m.safetensors")).expect("a copy");
    for model in ["run", "m.safetensors"] {
        let said = bptt(at.path(), &["forecast", model, "--horizon", "10", "--device", "cpu"]).ok();
        let own = text(at.path().join("run/forecast.csv"));
        assert!(said.out.starts_with(&own) && said.out.lines().count() == 11, "{}", said.out);
        assert!(said.out.lines().last().is_some_and(|line| line.starts_with("1984-10,")), "{}", said.out);
    }
}

#[test]
fn a_run_starts_from_another_model() {
    let at = folder();
    train(at.path(), &["--out", "first"]).ok();
    train(at.path(), &["--num-layers", "2", "--out", "two"]).ok();
    train(at.path(), &["--epochs", "0", "--init", "first/model.safetensors", "--seed", "5", "--out", "copy"]).ok();
    let tensors = |run: &str| {
        let bytes = read(at.path().join(run).join("model.safetensors"));
        let file = SafeTensors::deserialize(&bytes).expect("a model");
        let mut tensors: Vec<_> = file.tensors().into_iter().map(|(name, t)| (name, t.data().to_vec())).collect();
        tensors.sort();
        tensors
    };
    assert!(tensors("copy") == tensors("first"), "the parameters are not those of the file");

    let remedy = "match --hidden-size";
    let start = |file: &str, args: &[&str]| train(at.path(), &[&["--init", file], args].concat());
    let shape = "first/model.safetensors: `lstm.weight_ih_l0` is [32, 1], not [64, 1]";
    start("first/model.safetensors", &["--hidden-size", "16"]).refused(
        shape,
        "`fc.weight` is [4, 8], not [4, 16]",
        remedy,
    );
    start("first/model.safetensors", &["--num-layers", "2"]).refused("", "`lstm.bias_hh_l1` [32] is missing", remedy);
    start("two/model.safetensors", &[]).refused("", "`lstm.weight_hh_l1` is extra", remedy);
    start("first/metrics.jsonl", &[]).refused("first/metrics.jsonl: ", "not a whole safetensors file", "");
    assert!(runs(at.path()).is_empty(), "{:?}", runs(at.path()));
}

#[test]
fn devices_are_listed_and_timed() {
    let at = folder();
    let listed = bptt(at.path(), &["devices", "--json"]).ok();
    let devices = listed.json()["devices"].as_array().expect("a list").clone();
    assert!(devices.iter().any(|device| device["device"] == "cpu"), "{devices:?}");
    assert!(
        devices.iter().any(|device| device["device"] == "gpu"),
        "no adapter; install mesa-vulkan-drivers: {devices:?}"
    );
    for device in ["cpu", "gpu"] {
        let args = ["bench", "--shape", "I=1,H=8,L=1,B=4,T=3", "--steps", "2", "--json", "--device", device];
        let said = bptt(at.path(), &args).ok();
        assert_eq!(said.out.lines().count(), 1, "{}", said.out);
        assert_eq!(said.err.matches("checked: gradients of step").count(), 2, "{}", said.err);
        let json = said.json();
        assert_eq!((&json["device"], &json["shape"]), (&device.into(), &"I=1,H=8,L=1,B=4,T=3".into()));
        assert!(json["adapter"].as_str().is_some_and(|name| !name.is_empty()), "{json}");
        for key in ["ms_median", "ms_min", "ms_max", "steps", "first_step_ms", "gflops", "bytes"] {
            assert!(json[key].as_f64() > Some(0.0), "{key}: {json}");
        }
        assert!(json["ms_min"].as_f64() <= json["ms_median"].as_f64(), "{json}");
        assert!(json["ms_median"].as_f64() <= json["ms_max"].as_f64(), "{json}");
    }
    for shape in ["", "S9", "I=1", "I=0,H=1,L=1,B=1,T=1", "I=1,H=1,L=1,B=1,T=1,X=1"] {
        bptt(at.path(), &["bench", "--shape", shape]).exits_with(2);
    }
}

#[test]
fn threads_are_as_many_as_asked_for_and_change_no_bit() {
    let at = folder();
    for (threads, words) in [("1", ", 1 thread\n"), ("3", ", 3 threads\n")] {
        let listed = bptt(at.path(), &["devices", "--threads", threads]).ok();
        assert!(listed.out.ends_with(words), "{}", listed.out);
        train(at.path(), &["--epochs", "2", "--threads", threads, "--out", threads]).ok();
    }
    assert_same_run(&at.path().join("3"), &at.path().join("1"));
    bptt(at.path(), &["devices", "--threads", "0"]).exits_with(2);
}

#[test]
fn a_gpu_trains_as_the_cpu_does() {
    let at = folder();
    let losses = |device: &str| {
        let said = train(at.path(), &["--device", device, "--epochs", "1", "--json", "--out", device]).ok();
        assert_eq!(said.json()["device"], device);
        let last = metrics(&at.path().join(device)).pop().expect("an epoch");
        ["train_loss", "val_loss", "grad_norm"].map(|key| last[key].as_f64().expect("a number"))
    };
    compare("losses of the first epoch", &losses("gpu"), &losses("cpu"), 0.0, 1e-4).unwrap();
    let other = train(at.path(), &["--device", "gpu", "--adapter", "no such adapter"]);
    assert!(other.err.contains("no such adapter"), "{}", other.err);
    other.exits_with(1);
    train(at.path(), &["--device", "cpu", "--adapter", "x"]).refused("option `adapter`: ", "names a GPU", "leave one");
    let mixed = ["--precision", "mixed", "--device", "cpu"];
    train(at.path(), &mixed).refused(
        "option `precision`: ",
        "takes a GPU, and the device is `cpu`",
        "use `--device gpu`",
    );
}

#[cfg(target_os = "linux")]
#[test]
fn without_an_adapter_the_cpu_computes_and_says_so() {
    let at = folder();
    let blind = |device: &str| {
        let mut command = training(at.path(), &["--device", device, "--epochs", "1", "--json"]);
        let command = command.env("VK_ICD_FILENAMES", "/nonexistent").env("VK_DRIVER_FILES", "/nonexistent");
        Said::from(command.output().expect("the binary runs"))
    };
    let said = blind("auto").ok();
    assert!(said.err.contains("no usable hardware GPU; computing on the CPU: "), "{}", said.err);
    assert_eq!(said.json()["device"], "cpu");
    let said = blind("gpu").exits_with(1);
    assert!(said.err.starts_with("error: ") && said.err.contains("--device cpu"), "{}", said.err);
    assert_eq!(runs(at.path()).len(), 1);
}

#[test]
fn help_fits_and_scripts_are_written() {
    let at = folder();
    for name in ["", "train", "evaluate", "forecast", "devices", "bench", "completions", "man"] {
        for flag in ["-h", "--help"] {
            let args: Vec<_> = [name, flag].into_iter().filter(|arg| !arg.is_empty()).collect();
            let said = bptt(at.path(), &args).ok();
            let widest = said.out.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(120) && said.out.contains("Usage: bptt"), "{widest:?} columns:\n{}", said.out);
        }
    }
    for shell in ["bash", "zsh", "fish"] {
        let said = bptt(at.path(), &["completions", shell]).ok();
        assert!(said.out.contains("bptt") && said.out.contains("hidden-size"), "{shell}: {:.200}", said.out);
    }
    let page = bptt(at.path(), &["man"]).ok().out;
    assert!(page.contains(".TH bptt 1") && page.contains("bptt"), "{page:.200}");
    bptt(at.path(), &["completions", "tcl"]).exits_with(2);
    bptt(at.path(), &["frobnicate"]).exits_with(2);
    bptt(at.path(), &["--bogus"]).exits_with(2);
}

#[test]
fn nobody_has_to_read_the_output() {
    let at = folder();
    train(at.path(), &["--out", "run"]).ok();
    let commands = [
        &["--help"][..],
        &["completions", "bash"],
        &["man"],
        &["devices"],
        &["evaluate", "run", "--device", "cpu", "--json"],
        &["forecast", "run", "--device", "cpu", "--horizon", "1000"],
        &["bench", "--shape", "I=1,H=8,L=1,B=4,T=3", "--steps", "1", "--device", "cpu"],
        &["train", "--resume", "run", "--epochs", "3", "--device", "cpu"],
    ];
    for args in commands {
        let mut child = command(at.path(), args).spawn().expect("the binary runs");
        drop(child.stdout.take());
        assert_eq!(said(child).code, Some(0), "{args:?}");
    }
    let mut child = training(at.path(), &["--out", "deaf"]).spawn().expect("the binary runs");
    drop(child.stderr.take());
    assert!(said(child).ok().out.contains("run folder: deaf"));
}

/// The profile of a GPU's step: its kernels add up to its dispatches and, where the adapter has timestamps, to its time.
#[test]
fn a_step_is_profiled() {
    let at = folder();
    let args = ["bench", "--profile", "--shape", "I=1,H=8,L=1,B=4,T=3", "--steps", "2", "--json"];
    let profile = bptt(at.path(), &[&args[..], &["--device", "gpu"]].concat()).ok().json();
    let kernels = profile["kernels"].as_array().expect("kernels");
    let runs: f64 = kernels.iter().map(|kernel| kernel["runs"].as_f64().expect("a number")).sum();
    assert_eq!(runs, profile["dispatches"].as_f64().expect("a number"));
    assert!(kernels.iter().any(|kernel| kernel["kernel"] == "optimizer"), "{profile}");
    let times: Option<f64> = kernels.iter().map(|kernel| kernel["ms"].as_f64()).sum();
    let near = |total: f64| times.is_some_and(|times| (times / total - 1.0).abs() < 1e-6);
    assert!(profile["ms"].as_f64().map_or(times.is_none(), near), "{profile}");
    assert!(profile["product_gflops"].as_f64() > Some(0.0) && profile["copy_gbytes"].as_f64() > Some(0.0));
    bptt(at.path(), &[&args[..], &["--device", "cpu"]].concat()).exits_with(2);
}

/// Tuning measures every candidate and keeps one, which later runs compute with and keep in their checkpoint, whatever the file
/// says by then.
#[test]
fn an_adapter_is_tuned_once_and_a_run_keeps_its_choice() {
    let at = folder();
    let tuned = bptt(at.path(), &["devices", "--tune", "--json"]).ok();
    let devices = tuned.json()["devices"].as_array().expect("a list").clone();
    let gpu = devices.iter().find(|device| device["device"] == "gpu").expect("an adapter").clone();
    for table in ["products", "recurrences"] {
        let table = &gpu["tuned"][table];
        let rows = table["rows"].as_array().expect("a table");
        assert!(rows.len() > 3 && rows.iter().all(|row| row["seconds"][0].as_f64() > Some(0.0)), "{gpu}");
        let mark =
            format!("{} ", rows[table["chosen"].as_u64().expect("a row") as usize]["candidate"].as_str().unwrap());
        let marked = |line: &&str| line.contains(&mark) && line.contains("← chosen");
        assert_eq!(tuned.out.lines().filter(marked).count(), 1, "{mark}: {}", tuned.out);
    }
    assert_eq!(gpu["tuned"]["recurrences"]["hidden"], serde_json::json!([64, 128, 192, 256]));
    let file = at.path().join("cache/bptt/tuning.json");
    assert_eq!(gpu["tuned"]["file"], file.display().to_string());
    let kept: serde_json::Value = serde_json::from_str(&text(&file)).expect("JSON");
    assert_eq!(kept, serde_json::json!([gpu["tuned"]["tuned"]]));
    // A choice that nobody would measure, so that it is seen where it comes from.
    let own = |workgroups: usize| {
        let mut kept = kept.clone();
        kept[0]["tuning"]["workgroups"] = workgroups.into();
        write(at.path(), "cache/bptt/tuning.json", kept.to_string());
    };
    own(7);
    train(at.path(), &["--device", "gpu", "--epochs", "1", "--out", "run"]).ok();
    let workgroups = || {
        let checkpoint =
            Checkpoint::from_bytes("last.ckpt", &read(at.path().join("run/last.ckpt"))).expect("a checkpoint");
        checkpoint.tuned.expect("a GPU's run").tuning.workgroups
    };
    assert_eq!(workgroups(), 7);
    own(9);
    bptt(at.path(), &["train", "--device", "gpu", "--resume", "run", "--epochs", "2"]).ok();
    assert_eq!(workgroups(), 7, "a run that goes on computes as it began");
    // Of another version's layout nothing is known, neither in the file nor in a checkpoint.
    let mut older = kept.clone();
    older[0]["tuning"].as_object_mut().expect("a tuning").remove("recurrence");
    write(at.path(), "cache/bptt/tuning.json", older.to_string());
    let mut bytes = read(at.path().join("run/last.ckpt"));
    let place = bytes.windows(10).position(|part| part == b"recurrence").expect("a tuning");
    bytes[place..place + 10].copy_from_slice(b"repetition");
    write(at.path(), "run/last.ckpt", bytes);
    bptt(at.path(), &["train", "--device", "gpu", "--resume", "run", "--epochs", "3"]).ok();
    assert_ne!(workgroups(), 7, "what suits the adapter's kind");
    write(at.path(), "cache/bptt/tuning.json", "cut sho");
    train(at.path(), &["--device", "gpu", "--epochs", "1", "--out", "other"]).ok();
    train(at.path(), &["--epochs", "1", "--out", "cpu"]).ok();
}
