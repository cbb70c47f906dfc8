//! The binary on texts, on tasks that it makes up, and with the options of truncated back-propagation.

#[path = "common/binary.rs"]
mod binary;

use binary::{bptt, folder, read, text, train, write};

/// Trains on `song.txt` in `at`.
fn learnt_song(at: &std::path::Path) -> serde_json::Value {
    write(at, "song.txt", "row, row, row your boat, gently down the stream\n".repeat(120));
    let args =
        ["train", "song.txt", "--device", "cpu", "--json", "--hidden-size", "24", "--num-layers", "1", "--epochs"];
    bptt(at, &[&args[..], &["6", "--lr", "0.02", "--batch-size", "8", "--out", "run"]].concat()).ok().json()
}

#[test]
fn a_text_is_learnt_evaluated_and_gone_on_with() {
    let at = folder();
    let json = learnt_song(at.path());
    let loss = json["test_loss"].as_f64().expect("a test loss");
    assert!(loss < 0.6 && json["test"].is_null(), "{json}");
    let run = at.path().join("run");
    let config = text(run.join("config.toml"));
    for line in ["bptt = 64", "loss = \"cross_entropy\"", "head = \"every\"", "task = \"text\""] {
        assert!(config.contains(line), "{line} is not in\n{config}");
    }
    assert!(!run.join("forecast.csv").exists() && run.join("loss.svg").exists());

    let evaluated = bptt(at.path(), &["evaluate", "run", "--device", "cpu", "--json"]).ok();
    assert!(evaluated.out.contains("bits, perplexity"), "{}", evaluated.out);
    let again = evaluated.json()["test_loss"].as_f64().unwrap();
    assert!((again - loss).abs() < 1e-6, "{again} and {loss}");
    write(at.path(), "other.txt", "your boat, your stream, row gently\n".repeat(40));
    let other = bptt(at.path(), &["evaluate", "run", "other.txt", "--device", "cpu", "--all", "--json"]).ok().json();
    assert!(other["test_loss"].as_f64().unwrap() > loss, "{other}");

    let generate = |args: &[&str]| bptt(at.path(), &[&["generate", "run", "--device", "cpu"][..], args].concat());
    let greedy = generate(&["--prompt", "row, row, row your ", "--length", "4", "--temperature", "0"]).ok();
    assert_eq!(greedy.out, "row, row, row your boat\n");
    let sampled = |seed: &str| generate(&["--length", "60", "--seed", seed, "--json"]).ok().json()["text"].clone();
    assert_eq!(sampled("1"), sampled("1"));
    assert_ne!(sampled("1"), sampled("2"));
    assert_eq!(sampled("1").as_str().unwrap().chars().count(), 60);
    generate(&["--prompt", "Ω"]).refused("option `prompt`", "has 'Ω'", "leave it out");
    generate(&["--temperature", "-1"]).refused("option `temperature`", "is -1", "0.8");
    generate(&["--top-p", "0"]).refused("option `top_p`", "is 0", "share");
    write(at.path(), "new.txt", "ROW ROW ROW".repeat(30));
    let unknown = bptt(at.path(), &["evaluate", "run", "new.txt", "--device", "cpu"]);
    unknown.refused("new.txt, line 1", "which the model has never seen", "train on a text that has it");
    let forecast = bptt(at.path(), &["forecast", "run", "song.txt", "--device", "cpu"]);
    assert_eq!(forecast.code, Some(2), "{}", forecast.err);
}

/// A run with products of 16-bit numbers goes on with them, and what it leaves is of use to who has none.
#[test]
fn a_mixed_run_on_a_text_goes_on_and_is_evaluated() {
    let at = folder();
    write(at.path(), "song.txt", "so it goes on and on, ".repeat(100));
    let args =
        ["train", "song.txt", "--device", "gpu", "--precision", "mixed", "--hidden-size", "8", "--batch-size", "4"];
    let begun = bptt(at.path(), &[&args[..], &["--epochs", "1", "--out", "run"]].concat());
    if begun.err.contains("has no 16-bit numbers") {
        return;
    }
    assert!(begun.ok().err.contains("products of 16-bit"), "the run does not say what it multiplies");
    assert!(text(at.path().join("run/config.toml")).contains("precision = \"mixed\""));
    let cpu = bptt(at.path(), &["train", "--resume", "run", "--device", "cpu", "--epochs", "2"]);
    cpu.refused("option `precision`: ", "takes a GPU", "use `--device gpu`");
    let gone_on =
        bptt(at.path(), &["train", "--resume", "run", "--device", "gpu", "--epochs", "2", "--json"]).ok().json();
    let evaluated = bptt(at.path(), &["evaluate", "run", "--device", "cpu", "--json"]).ok().json();
    let [mixed, single] = [gone_on, evaluated].map(|json| json["test_loss"].as_f64().expect("a loss"));
    assert!((mixed - single).abs() < 1e-2, "{mixed} and {single}");
    bptt(at.path(), &["generate", "run", "--device", "cpu", "--length", "3"]).ok();
}

/// A run on a text that is stopped after an epoch and goes on is the run that never stopped.
#[test]
fn a_run_on_a_text_goes_on() {
    let at = folder();
    write(at.path(), "song.txt", "so it goes on and on, ".repeat(100));
    let run = |out: &str, epochs: &str| {
        let args = ["train", "song.txt", "--device", "cpu", "--hidden-size", "8", "--batch-size", "4", "--epochs"];
        bptt(at.path(), &[&args[..], &[epochs, "--bptt-jitter", "--dropout", "0.2", "--out", out]].concat()).ok();
    };
    run("whole", "3");
    run("part", "2");
    bptt(at.path(), &["train", "--resume", "part", "--epochs", "3", "--device", "cpu"]).ok();
    let model = |run: &str| read(at.path().join(run).join("model.safetensors"));
    let parameters = |bytes: &[u8]| bytes[8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize..].to_vec();
    assert!(parameters(&model("whole")) == parameters(&model("part")));
}

#[test]
fn tasks_are_trained_and_scored() {
    let at = folder();
    let small = ["--sequences", "200", "--epochs", "1", "--hidden-size", "8", "--device", "cpu", "--json"];
    for (task, window, naive) in [("adding", "10", 1.0 / 6.0), ("copying", "24", 10.0 * 8f64.ln() / 24.0)] {
        let args = ["train", "--task", task, "--window", window, "--out", task];
        let said = bptt(at.path(), &[&args[..], &small].concat()).ok();
        let loss = said.json()["test_loss"].as_f64().expect("a test loss");
        let again = bptt(at.path(), &["evaluate", task, "--device", "cpu", "--json"]).ok().json();
        assert!((again["test_loss"].as_f64().unwrap() - loss).abs() < 1e-6, "{again}");
        assert!((again["naive_loss"].as_f64().unwrap() - naive).abs() < 1e-9, "{again}");
        let given = bptt(at.path(), &["evaluate", task, "some.csv", "--device", "cpu"]);
        given.refused("some.csv", "makes its own data", "leave it out");
    }
    let chrono = ["train", "--task", "adding", "--chrono", "20", "--window", "10", "--out", "chrono"];
    bptt(at.path(), &[&chrono[..], &small].concat()).ok();
}

/// Every option of the stack trains, is saved, and the saved model is used.
#[test]
fn every_option_of_the_stack_trains() {
    let at = folder();
    let sets: [&[&str]; 6] = [
        &["--bidirectional"],
        &["--proj-size", "3", "--head", "every"],
        &["--num-layers", "2", "--dropout", "0.2", "--locked-dropout", "--recurrent-dropout", "0.2"],
        &["--weight-drop", "0.3", "--zoneout-h", "0.1", "--zoneout-c", "0.2", "--layer-norm"],
        &["--checkpoint-every", "5"],
        &["--bptt", "20", "--batch-size", "8"],
    ];
    for (index, set) in sets.into_iter().enumerate() {
        let out = format!("run{index}");
        train(at.path(), &[set, &["--out", &out]].concat()).ok();
        let forecast = bptt(at.path(), &["forecast", &out, "--device", "cpu"]).ok();
        assert_eq!(forecast.out, text(at.path().join(&out).join("forecast.csv")), "{set:?}");
    }
}

#[test]
fn options_that_cannot_be_are_refused() {
    let at = folder();
    write(at.path(), "short.txt", "ab");
    write(at.path(), "bytes.txt", [b'a', b'\n', 0xff, b'b']);
    write(at.path(), "empty.txt", "");
    let refused = |args: &[&str], place: &str, problem: &str, remedy: &str| {
        train(at.path(), args).refused(place, problem, remedy);
        assert!(!at.path().join("runs").exists(), "{args:?} left a folder");
    };
    refused(&["--proj-size", "8"], "option `proj_size`", "is 8, and `hidden_size` is 8", "below `hidden_size`");
    refused(&["--dropout", "0.5"], "option `dropout`", "acts between layers", "two layers or more");
    refused(&["--dropout", "1"], "option `dropout`", "is 1", "from 0 up to");
    refused(&["--bptt", "5", "--bidirectional"], "option `bptt`", "the second direction", "leave it out");
    refused(&["--bptt", "5", "--head", "last"], "option `bptt`", "`head` is last", "--head every");
    refused(&["--bptt", "0"], "option `bptt`", "is 0", "from 1");
    refused(&["--bptt", "5000"], "option `bptt`", "is 5000, but 1973 training rows", "use at most 30");
    refused(&["--bptt", "5", "--accumulate", "2"], "option `bptt`", "adds up several", "batch_size");
    refused(&["--bptt-jitter"], "option `bptt_jitter`", "no `bptt` to vary", "set `bptt`");
    refused(&["--task", "text"], "option `task`", "learns the next one at every step", "leave these three out");
    refused(&["--task", "text", "--horizon", "1"], "option `task`", "there is no file", "UTF-8");
    refused(&["--task", "adding", "--horizon", "1", "--bptt", "5"], "option `task`", "one number", "no `--bptt`");
    refused(&["--task", "copying", "--horizon", "1", "--window", "21"], "option `window`", "too short", "22 or more");
    refused(&["short.txt", "--horizon", "1"], "option `bptt`", "training rows", "longer series");
    refused(&["bytes.txt", "--horizon", "1"], "bytes.txt, line 2", "is not text in UTF-8", "iconv");
    refused(&["empty.txt", "--horizon", "1"], "empty.txt: ", "the file is empty", "give a text file");
    let bench = ["bench", "--shape", "I=1,H=4,L=2,B=2,T=3", "--steps", "1", "--device", "cpu"];
    let said = bptt(at.path(), &[&bench[..], &["--lengths", "--zoneout-h", "0.1"]].concat()).ok();
    assert!(said.out.contains("times the plain step"), "{}", said.out);
    bptt(at.path(), &[&bench[..], &["--proj-size", "4"]].concat()).refused("option `proj_size`", "is 4", "below");
}
