//! Runs that take their rows in order, and runs on text and made-up tasks: the state is carried and cut where it must be, it
//! is in the checkpoint, and what is learnt can be used.

mod common;

use bptt::checkpoint::Checkpoint;
use bptt::config::{Config, Head, LossKind, OptimizerKind, Task};
use bptt::data::{Dataset, Series};
use bptt::device::{Cpu, Device};
use bptt::generator::{Generator, Sampling};
use bptt::interop::Model;
use bptt::kernels::Kernels;
use bptt::trainer::{Event, Report, Trainer};
use common::compare;
use pollster::block_on;

fn wave(rows: usize) -> Series {
    let values = (0..rows).map(|row| (row as f64 * 0.7).sin() + (row as f64 * 0.11).cos()).collect();
    Series { file: "wave.csv".into(), columns: vec!["y".into()], values, time: None }
}

/// 4 streams of 60 training rows each.
fn config(bptt: usize) -> Config {
    Config {
        window: 12,
        horizon: 1,
        train_share: 0.7,
        validation_share: 0.15,
        hidden_size: 6,
        batch_size: 4,
        epochs: 2,
        patience: 0,
        lr: 0.01,
        log_every: 1,
        bptt: Some(bptt),
        ..Config::defaults(Task::Forecast, true)
    }
}
const ROWS: usize = 345;

/// Every mask at once, and steps computed again.
fn noisy(config: Config) -> Config {
    let rates = Config { dropout: 0.2, recurrent_dropout: 0.2, weight_drop: 0.1, ..config };
    Config { zoneout_h: 0.1, zoneout_c: 0.2, proj_size: 4, checkpoint_every: 3, ..rates }
}

fn series_data(config: &Config) -> Dataset {
    Dataset::new(wave(ROWS), config, Vec::new()).expect("a data set")
}

fn trainer<D: Kernels>(device: D, config: &Config) -> Trainer<D> {
    let data = if config.task() == Task::Forecast { series_data(config) } else { Dataset::load(config).expect("data") };
    Trainer::new(device, config.clone(), data, None).expect("a trainer")
}

fn events<D: Kernels>(trainer: &mut Trainer<D>) -> Vec<Event> {
    std::iter::from_fn(|| block_on(trainer.next()).expect("a step")).collect()
}

fn run<D: Kernels>(device: D, config: &Config) -> (Vec<Event>, Report, Model) {
    let mut trainer = trainer(device, config);
    let events = events(&mut trainer);
    let (report, model) = block_on(trainer.finish()).expect("an end");
    (events, report, model)
}

fn losses(events: &[Event]) -> Vec<f64> {
    events
        .iter()
        .filter_map(|event| if let Event::Step(step) = event { Some(step.means?.loss) } else { None })
        .collect()
}

fn epoch_losses(events: &[Event]) -> Vec<f64> {
    let losses = |event: &Event| match event {
        Event::Epoch(epoch) => vec![epoch.train_loss, epoch.val_loss.expect("a validation loss")],
        Event::Step(_) => Vec::new(),
    };
    events.iter().flat_map(losses).collect()
}

/// With a rate of nearly nothing the parts of an epoch together lose what the streams lose as a whole; from zero at each part
/// they would lose something else.
#[test]
fn the_state_goes_from_part_to_part() {
    let still = |bptt| Config { optimizer: OptimizerKind::Sgd, lr: 1e-30, epochs: 2, ..config(bptt) };
    let (whole, ..) = run(Cpu::<f64>::poisoned(), &still(60));
    assert_eq!(losses(&whole).len(), 2, "one part an epoch");
    for bptt in [5, 12, 20] {
        let (parts, ..) = run(Cpu::<f64>::poisoned(), &still(bptt));
        assert_eq!(losses(&parts).len(), 2 * 60 / bptt);
        compare("losses", &epoch_losses(&parts)[..1], &epoch_losses(&whole)[..1], 1e-9, 1e-7).unwrap();
        let first = losses(&parts)[0];
        assert!(losses(&parts)[1..60 / bptt].iter().all(|loss| (loss - first).abs() > 1e-6));
        compare("the second epoch begins anew", &[losses(&parts)[60 / bptt]], &[first], 0.0, 1e-9).unwrap();
    }
    let windows = Config { window: 5, bptt: None, head: Head::Every, ..still(5) };
    let (windows, ..) = run(Cpu::<f64>::poisoned(), &windows);
    assert!((epoch_losses(&windows)[0] - epoch_losses(&whole)[0]).abs() > 1e-4);
}

#[test]
fn a_resumed_run_of_streams_is_one_that_never_stopped() {
    fn resumes<D: Kernels>(device: impl Fn() -> D, config: &Config) {
        let (whole, report, model) = run(device(), config);
        let mut stopped = trainer(device(), config);
        for place in 0..whole.len() {
            assert_eq!(block_on(stopped.next()).unwrap().as_ref(), Some(&whole[place]), "event {place}");
            let bytes = block_on(stopped.checkpoint()).expect("a checkpoint").to_bytes();
            let saved = Checkpoint::from_bytes("last.ckpt", &bytes).expect("a checkpoint");
            let mut resumed = Trainer::resume(device(), saved, series_data(config)).expect("a trainer");
            assert_eq!(events(&mut resumed), whole[place + 1..], "after event {place}");
            let (again, kept) = block_on(resumed.finish()).expect("an end");
            assert_eq!((again, kept == model), (report.clone(), true), "after event {place}");
        }
    }
    resumes(Cpu::<f32>::poisoned, &config(25));
    resumes(Cpu::<f32>::poisoned, &noisy(Config { bptt_jitter: true, epochs: 3, ..config(25) }));
    resumes(|| common::gpu(false), &noisy(Config { epochs: 1, ..config(20) }));
}

/// The same masks on every device: a run with all of them ends alike.
#[test]
fn masked_runs_agree_on_every_device() {
    let config = noisy(config(15));
    let want = epoch_losses(&run(Cpu::<f64>::poisoned(), &config).0);
    compare("Cpu<f32>", &epoch_losses(&run(Cpu::<f32>::poisoned(), &config).0), &want, 0.0, 1e-4).unwrap();
    compare("Gpu", &epoch_losses(&run(common::gpu(false), &config).0), &want, 0.0, 1e-4).unwrap();
    let other = epoch_losses(&run(Cpu::<f64>::poisoned(), &Config { seed: 77, ..config }).0);
    assert!(compare("another seed", &other, &want, 0.0, 1e-4).is_err());
}

/// Computing steps again costs time and no digit.
#[test]
fn steps_computed_again_give_the_same_run() {
    let config = Config { bptt: None, window: 40, head: Head::Last, ..config(1) };
    let (want, report, model) = run(Cpu::<f32>::poisoned(), &config);
    let again = Config { checkpoint_every: 7, ..config };
    let (got, same, kept) = run(Cpu::<f32>::poisoned(), &again);
    compare("losses", &losses(&got), &losses(&want), 0.0, 1e-5).unwrap();
    let close = |a: f32, b: f32| (a - b).abs() < 1e-4;
    assert!(kept.parameters.iter().zip(&model.parameters).all(|(&a, &b)| close(a, b)));
    assert_eq!((same.epochs, same.steps), (report.epochs, report.steps));
    // About 2 · √T of the states instead of all.
    let bytes = |config: &Config| {
        let trainer = trainer(Cpu::<f32>::poisoned(), config);
        trainer.device().allocated()
    };
    let long =
        |checkpoint_every| Config { window: 225, horizon: 1, checkpoint_every, hidden_size: 32, ..again.clone() };
    let (all, few) = (bytes(&long(0)), bytes(&long(15)));
    assert!(few * 4 < all, "{few} bytes instead of {all}");
}

/// Memory grows with the part, not with the series.
#[test]
fn memory_does_not_grow_with_the_series() {
    let needed = |rows: usize| {
        let config = Config { hidden_size: 16, ..config(10) };
        let data = Dataset::new(wave(rows), &config, Vec::new()).unwrap();
        let trainer = Trainer::new(Cpu::<f32>::new(), config, data, None).unwrap();
        // The table itself, its windows and its losses.
        trainer.device().allocated() as f64 - (rows * 4 * 4) as f64
    };
    let (short, long) = (needed(1_000), needed(50_000));
    assert!(long < 1.1 * short + 50_000.0 * 4.0 * 0.3, "{short} bytes for 1,000 rows, {long} for 50,000");
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let refused = |config: Config| {
        let data = series_data(&config);
        Trainer::new(Cpu::<f32>::new(), config, data, None).err().expect("an error").to_string()
    };
    let error = refused(config(61));
    assert!(error.starts_with("option `bptt`: is 61, but 241 training rows in 4 streams are 60 rows each"), "{error}");
    assert!(error.contains("use at most 60"), "{error}");
    let error = refused(Config { head: Head::Last, ..config(5) });
    assert!(error.contains("`bptt`") && error.contains("--head every"), "{error}");
    for config in [
        Config { bidirectional: true, ..config(5) },
        Config { accumulate: 2, ..config(5) },
        Config { bptt: Some(0), ..config(5) },
        Config { bptt: None, bptt_jitter: true, ..config(5) },
        Config { bptt: None, bidirectional: true, checkpoint_every: 4, ..config(5) },
        Config { proj_size: 6, ..config(5) },
        Config { dropout: 1.0, ..config(5) },
        Config { dropout: 0.5, num_layers: 1, ..config(5) },
        Config { locked_dropout: true, ..config(5) },
        Config { zoneout_c: -0.1, ..config(5) },
        Config { weight_drop: f64::NAN, ..config(5) },
    ] {
        let error = refused(config);
        assert!(error.starts_with("option `") && error.lines().count() == 2, "{error}");
    }
}

/// A text that repeats itself is learnt, and gone on with.
#[test]
fn a_text_is_learnt_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("song.txt");
    std::fs::write(&path, "so it goes on, ünd ".repeat(200)).unwrap();
    let config = Config {
        data: Some(path),
        bptt: Some(20),
        hidden_size: 24,
        num_layers: 1,
        batch_size: 8,
        lr: 0.02,
        epochs: 8,
        ..Config::defaults(Task::Text, true)
    };
    let (events, report, model) = run(Cpu::<f32>::new(), &config);
    let (naive, _) = Dataset::load(&config).unwrap().naive_loss().expect("a naive loss");
    let loss = report.test_loss.expect("a test loss");
    assert!(loss < 0.2 && naive > 2.0, "{loss}: {:?}", epoch_losses(&events));
    let model = Model::from_bytes("model.safetensors", &model.to_bytes()).expect("a model");
    let write = |prompt: &str, seed| {
        let mut generator = Generator::new(Cpu::<f32>::new(), &model, seed).expect("a generator");
        let mut text = String::new();
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        block_on(generator.write(prompt, 30, &greedy, |letter| text.push(letter))).map(|()| text)
    };
    let text = write("so it goes on, ünd so it goes ", 0).unwrap();
    assert_eq!(text, "on, ünd so it goes on, ünd so ");
    let error = write("so it ZZ", 0).unwrap_err().to_string();
    assert!(error.contains("'Z'") && error.contains("never seen"), "{error}");
    // Windows of the text, from zero each, are learnt as well.
    let windows = Config { bptt: None, window: 20, epochs: 10, ..config };
    let (_, report, _) = run(Cpu::<f32>::new(), &windows);
    assert!(report.test_loss.unwrap() < 0.5, "{report:?}");
}

/// A short adding task: far better than always answering 1, which leaves 1/6.
#[test]
fn adding_is_learnt() {
    let config = Config {
        window: 16,
        sequences: 3000,
        hidden_size: 24,
        lr: 0.01,
        epochs: 15,
        ..Config::defaults(Task::Adding, false)
    };
    let (events, report, _) = run(Cpu::<f32>::new(), &config);
    let loss = report.test_loss.expect("a test loss");
    assert!(loss < 0.01, "{loss}: {:?}", epoch_losses(&events));
}

/// A short copying task falls below what remembering nothing leaves.
#[test]
fn copying_is_learnt() {
    let config = Config {
        window: 24,
        sequences: 4000,
        hidden_size: 64,
        lr: 0.01,
        epochs: 12,
        ..Config::defaults(Task::Copying, false)
    };
    let data = Dataset::load(&config).unwrap();
    let (naive, _) = data.naive_loss().expect("a naive loss");
    let (events, report, _) = run(Cpu::<f32>::new(), &config);
    let loss = report.test_loss.expect("a test loss");
    assert!(loss < 0.75 * naive, "{loss} of {naive}: {:?}", epoch_losses(&events));
    assert_eq!(config.loss, LossKind::CrossEntropy);
}
