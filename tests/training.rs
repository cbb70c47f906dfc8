//! Whole runs on each device: they learn, equal seeds give equal bits, a resumed run is one that never stopped, and a run
//! that cannot go on says why and leaves what was good.

mod common;

use bptt::checkpoint::Checkpoint;
use bptt::config::{Config, Head, InitScheme, LossKind, LrSchedule, OptimizerKind, Precision};
use bptt::data::{Dataset, Series};
use bptt::device::{Cpu, Device, Gpu, Need, Recurrence, Tuning};
use bptt::error::Error;
use bptt::forecaster::Forecaster;
use bptt::interop::{Model, ModelInfo};
use bptt::kernels::{Kernels, Packing, Rule, Status};
use bptt::model::{Network, NetworkShape, initial_parameters};
use bptt::rng::{Rng, Stream};
use bptt::trainer::{Change, Event, Report, Trainer};
use common::{compare, compare_to_largest, doubles};
use pollster::block_on;

fn single() -> Cpu<f32> {
    Cpu::poisoned()
}
fn double() -> Cpu<f64> {
    Cpu::poisoned()
}
fn gpu() -> Gpu {
    common::gpu(false)
}

/// `amplitude` of a sine over 12 rows and `noise` times a uniform number in ±1.
fn series(rows: usize, amplitude: f64, noise: f64) -> Series {
    let mut numbers = Rng::new(3, Stream::Init);
    let sine = |row: usize| amplitude * (row as f64 * std::f64::consts::TAU / 12.0).sin();
    let values = (0..rows).map(|row| 5.0 + sine(row) + noise * (2.0 * numbers.uniform() - 1.0)).collect();
    Series { file: "made.csv".into(), columns: vec!["y".into()], values, time: None }
}

fn noisy_sine() -> Series {
    series(310, 1.0, 0.1)
}

/// Small: 203 training windows, in 13 steps an epoch of which the last has 11.
fn config() -> Config {
    Config {
        window: 12,
        horizon: 3,
        hidden_size: 8,
        num_layers: 2,
        batch_size: 16,
        epochs: 2,
        patience: 0,
        lr: 0.01,
        log_every: 5,
        ..Config::default()
    }
}

fn dataset(series: Series, config: &Config) -> Dataset {
    Dataset::new(series, config, Vec::new()).expect("a data set")
}

fn trainer<D: Kernels>(device: D, config: &Config) -> Trainer<D> {
    Trainer::new(device, config.clone(), dataset(noisy_sine(), config), None).expect("a trainer")
}

fn next<D: Kernels>(trainer: &mut Trainer<D>) -> Option<Event> {
    block_on(trainer.next()).expect("an event")
}

fn checkpoint<D: Kernels>(trainer: &mut Trainer<D>) -> Checkpoint {
    block_on(trainer.checkpoint()).expect("a checkpoint")
}

/// All events that are left.
fn events<D: Kernels>(trainer: &mut Trainer<D>) -> Vec<Event> {
    std::iter::from_fn(|| next(trainer)).collect()
}

/// What a run leaves: its events, the bytes of its last checkpoint and of its model, and its report.
#[derive(Debug, PartialEq)]
struct Outcome {
    events: Vec<Event>,
    checkpoint: Vec<u8>,
    model: Vec<u8>,
    report: Report,
}

fn outcome<D: Kernels>(mut trainer: Trainer<D>) -> Outcome {
    let events = events(&mut trainer);
    let checkpoint = checkpoint(&mut trainer).to_bytes();
    let (report, model) = block_on(trainer.finish()).expect("a model");
    Outcome { events, checkpoint, model: model.to_bytes(), report }
}

/// The RMSE on the test windows as a share of that of repeating the last value.
fn share_of_repeat_last<D: Kernels>(device: D, epochs: usize) -> f64 {
    let config = Config { epochs, num_layers: 1, lr: 0.02, ..config() };
    let outcome = outcome(trainer(device, &config));
    let test = outcome.report.test.expect("test windows");
    assert_eq!(outcome.report.ahead.point.len(), 3);
    test.model.rmse / test.baselines.repeat_last.rmse
}

#[test]
fn it_learns_a_noisy_sine() {
    for (backend, share) in [
        ("Cpu<f64>", share_of_repeat_last(double(), 12)),
        ("Cpu<f32>", share_of_repeat_last(single(), 12)),
        ("Gpu", share_of_repeat_last(gpu(), 12)),
    ] {
        assert!(share < 0.3, "{backend}: {share} of the error of repeating the last value");
    }
    let untrained = share_of_repeat_last(single(), 0);
    assert!(untrained > 0.6, "without training it is {untrained}, so the bound says nothing");
}

/// A long series whose noise is as wide as its sine, trained with `loss`.
fn uncertain<D: Kernels>(device: D, loss: LossKind) -> Outcome {
    let config = Config { loss, epochs: 8, num_layers: 1, lr: 0.02, batch_size: 64, ..config() };
    let data = dataset(series(2000, 1.0, 1.0), &config);
    outcome(Trainer::new(device, config, data, None).expect("a trainer"))
}

/// What the quantiles say comes as often as they say, and no oftener; the loss falls.
#[test]
fn intervals_are_calibrated() {
    for loss in [LossKind::Quantile, LossKind::Gaussian, LossKind::StudentT] {
        let outcome = uncertain(single(), loss);
        let report = &outcome.report;
        let test = report.test.expect("test windows");
        let calibration = test.calibration.expect("quantiles");
        let coverage = calibration.coverage.expect("two quantiles");
        assert!(
            (calibration.nominal - 0.8).abs() < 1e-12 && (coverage - 0.8).abs() < 0.08,
            "{loss:?}: {calibration:?}"
        );
        assert!(test.model.rmse < 0.75 * test.baselines.repeat_last.rmse, "{loss:?}: {test:?}");
        // Those of the noise itself, uniform in ±1: 0.09, 0.25 and 0.09.
        assert!((0.12..0.2).contains(&calibration.pinball), "{loss:?}: {calibration:?}");
        let levels: Vec<f64> = report.ahead.quantiles.iter().map(|quantile| quantile.level).collect();
        assert_eq!(levels, [0.1, 0.5, 0.9]);
        for forecasts in [&report.ahead, &report.test_forecasts] {
            let lengths: Vec<usize> = forecasts.quantiles.iter().map(|quantile| quantile.values.len()).collect();
            assert_eq!(lengths, [forecasts.point.len(); 3]);
            let (low, high) = forecasts.interval().expect("two quantiles");
            let wide = low.values.iter().zip(&high.values).filter(|(low, high)| *high - *low > 0.8);
            assert!(wide.count() * 100 > 95 * forecasts.point.len(), "{loss:?}: {forecasts:?}");
        }
        let losses: Vec<f64> = outcome
            .events
            .iter()
            .filter_map(|event| if let Event::Epoch(epoch) = event { Some(epoch.train_loss) } else { None })
            .collect();
        assert!(losses.last() < losses.first(), "{loss:?}: {losses:?}");
    }
    let blind = outcome(trainer(single(), &config()));
    assert_eq!(blind.report.test.expect("test windows").calibration, None);
    assert!(blind.report.ahead.quantiles.is_empty() && blind.report.ahead.interval().is_none());
}

/// Equal bits when run again, and after a stop, with several outputs for each value.
#[test]
fn likelihoods_train_on_the_gpu_too() {
    let config = Config { loss: LossKind::StudentT, head: Head::Every, num_layers: 1, ..config() };
    let want = outcome(trainer(single(), &config));
    let got = outcome(trainer(gpu(), &config));
    assert!(got == outcome(trainer(gpu(), &config)), "two runs with one seed differ");
    let last = |outcome: &Outcome| match outcome.events.last() {
        Some(Event::Epoch(epoch)) => [epoch.train_loss, epoch.val_loss.expect("a validation loss")],
        other => panic!("{other:?}"),
    };
    compare("Gpu", &last(&got), &last(&want), 0.0, 1e-3).unwrap();
    resumes(single, &Config { loss: LossKind::Quantile, epochs: 1, ..config });
}

/// Classes are not for a series of numbers, neither to train on nor to forecast.
#[test]
fn a_series_has_no_classes() {
    let config = Config { loss: LossKind::CrossEntropy, ..config() };
    let error = Dataset::new(noisy_sine(), &config, Vec::new()).expect_err("classes").to_string();
    assert!(error.starts_with("option `loss`: is cross_entropy, but a series has numbers"), "{error}");
    let info = ModelInfo::new(&config, &dataset(noisy_sine(), &self::config()));
    let parameters = vec![0.0; info.shape().parameters()];
    let error = Forecaster::new(single(), &Model { info, parameters }, 100, 1).err().expect("classes").to_string();
    assert!(error.starts_with("option `loss`: is cross_entropy in this model"), "{error}");
    let shape = NetworkShape::new(&config, 3, 7);
    assert_eq!((shape.output_size, shape.parts, shape.targets(&Packing::even(5, 16))), (7, 7, 16));
}

fn equal_seeds_give_equal_bits<D: Kernels>(device: impl Fn() -> D) {
    let config = Config { head: Head::Every, loss: LossKind::Huber, seed: 1, ..config() };
    let first = outcome(trainer(device(), &config));
    assert_eq!(first.events.len(), 2 * 14, "13 steps and a validation, twice");
    assert!(first == outcome(trainer(device(), &config)), "two runs with one seed differ");
    let other = outcome(trainer(device(), &Config { seed: 2, ..config }));
    assert_ne!(first.events, other.events);
    assert_ne!(first.model, other.model);
}

#[test]
fn equal_seeds_give_equal_bits_on_every_device() {
    equal_seeds_give_equal_bits(double);
    equal_seeds_give_equal_bits(single);
    equal_seeds_give_equal_bits(gpu);
}

/// The CPU cuts its work by the number of threads; a sum's order does not depend on how.
#[test]
fn the_number_of_threads_changes_no_bit() {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let config = Config { batch_size: 29, hidden_size: 29, bidirectional: true, ..config() };
        pool.install(|| outcome(trainer(single(), &config)))
    };
    let one = on(1);
    for threads in [2, 5] {
        assert!(on(threads) == one, "{threads} threads");
    }
}

/// The devices agree with each other on the losses of a run.
#[test]
fn devices_agree() {
    let losses = |events: &[Event]| -> Vec<f64> {
        let loss = |event: &Event| match event {
            Event::Step(step) => step.means.map(|means| means.loss),
            Event::Epoch(epoch) => epoch.val_loss,
        };
        events.iter().filter_map(loss).collect()
    };
    let want = losses(&outcome(trainer(double(), &config())).events);
    assert_eq!(want.len(), 2 * 4);
    compare("Cpu<f32>", &losses(&outcome(trainer(single(), &config())).events), &want, 0.0, 1e-3).unwrap();
    compare("Gpu", &losses(&outcome(trainer(gpu(), &config())).events), &want, 0.0, 1e-3).unwrap();
}

/// Products of 16-bit numbers give nearly the losses that those of 32 bits give, over a run that learns, and a run that was
/// stopped goes on with the same bits.
#[test]
fn products_of_16_bits_learn_alike() {
    let config = Config { epochs: 6, lr: 0.02, hidden_size: 16, ..config() };
    let losses = |events: &[Event]| -> Vec<f64> {
        let of_epoch = |event: &Event| if let Event::Epoch(epoch) = event { Some(epoch.train_loss) } else { None };
        events.iter().filter_map(of_epoch).collect()
    };
    let want = losses(&outcome(trainer(gpu(), &config)).events);
    assert!(want[5] < 0.25 * want[0], "{want:?}");
    let mixed = Config { precision: Precision::Mixed, ..config };
    for gpu in common::halves() {
        let half = gpu.half();
        let got = losses(&outcome(trainer(gpu, &mixed)).events);
        compare(&format!("{half:?}"), &got, &want, 0.0, 0.01).unwrap();
        assert_ne!(got, want, "{half:?}");
    }
    if !common::halves().is_empty() {
        resumes(|| common::halves().remove(0), &Config { epochs: 1, ..mixed.clone() });
    }
    let refused = Trainer::new(gpu(), mixed.clone(), dataset(noisy_sine(), &mixed), None).err();
    assert!(refused.expect("an error").to_string().contains("option `precision`"));
}

/// From a checkpoint after any event on, through its bytes, the rest of the run is the same to the bit.
fn resumes<D: Kernels>(device: impl Fn() -> D, config: &Config) {
    let whole = outcome(trainer(device(), config));
    let mut stopped = trainer(device(), config);
    let mut saved = vec![checkpoint(&mut stopped).to_bytes()];
    let mut seen = Vec::new();
    while let Some(event) = next(&mut stopped) {
        seen.push(event);
        saved.push(checkpoint(&mut stopped).to_bytes());
    }
    assert_eq!(seen, whole.events, "to write a checkpoint changes the run");
    for (place, bytes) in saved.iter().enumerate() {
        let read = Checkpoint::from_bytes("last.ckpt", bytes).expect("a checkpoint");
        assert_eq!(read.to_bytes(), *bytes, "after event {place}: written again");
        let resumed = Trainer::resume(device(), read, dataset(noisy_sine(), config)).expect("a trainer");
        let rest = outcome(resumed);
        assert_eq!(rest.events, whole.events[place..], "after event {place}");
        assert!(rest.checkpoint == whole.checkpoint, "after event {place}: the last checkpoints differ");
        assert!(rest.model == whole.model, "after event {place}: the models differ");
        assert_eq!(rest.report, whole.report, "after event {place}");
    }
    assert!(saved.windows(2).all(|pair| pair[0] != pair[1]), "two checkpoints are equal");
}

#[test]
fn a_resumed_run_is_one_that_never_stopped() {
    let adam = Config { amsgrad: true, weight_decay: 0.01, batch_size: 48, log_every: 2, ..config() };
    resumes(single, &adam);
    resumes(gpu, &Config { num_layers: 1, ..adam });
    let momentum = Config { optimizer: OptimizerKind::Sgd, momentum: 0.9, accumulate: 2, ..config() };
    resumes(single, &momentum);
    resumes(single, &Config { momentum: 0.0, max_norm: 0.0, ..momentum });

    // No later loss is better by this much, so that the rate falls at each later epoch's end.
    let plateau = Config { lr_schedule: LrSchedule::Plateau, lr_patience: 0, min_delta: 100.0, ema: 0.9, ..config() };
    resumes(single, &Config { epochs: 4, batch_size: 70, ..plateau });
    let curve = Config { lr_schedule: LrSchedule::OneCycle, ema: 0.5, num_layers: 1, batch_size: 48, ..config() };
    resumes(single, &curve);
    resumes(gpu, &curve);
}

#[test]
fn other_data_is_refused() {
    let config = config();
    let saved = checkpoint(&mut trainer(single(), &config));
    let mut series = noisy_sine();
    series.values[7] += 1e-9;
    let refused = Trainer::resume(single(), saved, dataset(series, &config));
    assert!(matches!(refused.err(), Some(Error::File { .. })));
}

/// Means of the losses, and the parameters at the end.
fn losses_and_parameters<D: Kernels>(device: D, config: &Config) -> (Vec<f64>, Vec<f64>) {
    let mut trainer = trainer(device, config);
    let events = events(&mut trainer);
    let values = events.iter().flat_map(|event| match event {
        Event::Step(step) => step.means.map_or(Vec::new(), |means| vec![means.loss, means.grad_norm]),
        Event::Epoch(epoch) => vec![epoch.train_loss, epoch.val_loss.unwrap()],
    });
    (values.collect(), doubles(&checkpoint(&mut trainer).parameters))
}

/// Two batches of 8 make one of 16, the last ones, of 8 and 3, included.
#[test]
fn accumulated_batches_are_one_batch() {
    let whole = Config { optimizer: OptimizerKind::Sgd, momentum: 0.9, head: Head::Every, ..config() };
    let halves = Config { batch_size: 8, accumulate: 2, ..whole.clone() };
    let agree = |backend: &str, got: &(Vec<f64>, Vec<f64>), want: &(Vec<f64>, Vec<f64>), tolerance| {
        compare(&format!("{backend}: losses"), &got.0, &want.0, 0.0, tolerance)?;
        compare_to_largest(&format!("{backend}: parameters"), &got.1, &want.1, tolerance)
    };
    let want = losses_and_parameters(double(), &whole);
    agree("Cpu<f64>", &losses_and_parameters(double(), &halves), &want, 1e-6).unwrap();
    agree("Cpu<f32>", &losses_and_parameters(single(), &halves), &want, 1e-4).unwrap();
    agree("Gpu", &losses_and_parameters(gpu(), &halves), &want, 1e-4).unwrap();
    let other = Config { lr: whole.lr * 1.01, ..whole };
    assert!(agree("another rate", &losses_and_parameters(double(), &other), &want, 1e-4).is_err());
}

/// Noise cannot be forecast: what is learnt of it makes the validation worse.
#[test]
fn early_stopping_keeps_the_best_parameters() {
    let noise = || series(200, 0.0, 1.0);
    let config = Config { patience: 3, epochs: 60, hidden_size: 16, lr: 0.02, ..config() };
    let mut trainer = Trainer::new(single(), config.clone(), dataset(noise(), &config), None).expect("a trainer");
    let (mut epochs, mut parameters) = (Vec::new(), Vec::new());
    while let Some(event) = next(&mut trainer) {
        if let Event::Epoch(epoch) = event {
            epochs.push(epoch);
            parameters.push(checkpoint(&mut trainer).parameters);
        }
    }
    let losses: Vec<f64> = epochs.iter().map(|epoch| epoch.val_loss.expect("a validation loss")).collect();
    let best = (0..losses.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).expect("an epoch");
    assert!(losses.len() < 60, "it never stopped: {losses:?}");
    assert_eq!(losses.len(), best + 1 + 3, "{losses:?}");
    for (index, epoch) in epochs.iter().enumerate() {
        assert_eq!(epoch.best, losses[..index].iter().all(|loss| epoch.val_loss.unwrap() < *loss), "epoch {index}");
    }
    assert_eq!(next(&mut trainer), None, "it goes on after its end");
    let (report, model) = block_on(trainer.finish()).expect("a model");
    assert_eq!(model.parameters, parameters[best]);
    assert_ne!(model.parameters, *parameters.last().unwrap());
    assert_eq!((report.best_epoch, report.epochs), (best + 1, losses.len()));
    assert_eq!(report.val_loss, Some(losses[best]));

    let patient = Config { patience: 0, epochs: losses.len() + 2, ..config };
    let mut trainer = Trainer::new(single(), patient.clone(), dataset(noise(), &patient), None).expect("a trainer");
    let all = events(&mut trainer).iter().filter(|event| matches!(event, Event::Epoch(_))).count();
    assert_eq!(all, losses.len() + 2, "patience 0 never stops");
}

/// An epoch is better by more than `min_delta` or not at all, and patience counts from the last better one.
#[test]
fn a_small_gain_is_none() {
    let run = |min_delta: f64, patience: usize| {
        let config = Config { min_delta, patience, epochs: 14, hidden_size: 16, ..config() };
        let mut trainer = trainer(single(), &config);
        let mut epochs = Vec::new();
        while let Some(event) = next(&mut trainer) {
            if let Event::Epoch(epoch) = event {
                epochs.push((epoch.val_loss.expect("a validation loss"), epoch.best));
            }
        }
        epochs
    };
    let all = run(0.0, 0);
    let gains = all.iter().filter(|(_, best)| *best).map(|(loss, _)| *loss).collect::<Vec<_>>();
    let gain = gains.windows(2).map(|pair| pair[0] - pair[1]).fold(f64::INFINITY, f64::min);
    let min_delta = 1.5 * gain;
    let (mut least, mut best) = (f64::INFINITY, Vec::new());
    for (loss, _) in &all {
        best.push(*loss < least - min_delta);
        least = if best[best.len() - 1] { *loss } else { least };
    }
    let strict = run(min_delta, 0);
    assert_eq!(strict, all.iter().map(|epoch| epoch.0).zip(best.clone()).collect::<Vec<_>>());
    assert_ne!(strict, all, "a least gain of {min_delta} excludes no epoch");
    let waited = best.iter().position(|best| !best).expect("an epoch without gain");
    assert_eq!(run(min_delta, 1), strict[..=waited], "patience goes by gains of {min_delta}");
}

/// The rates that the events of a run tell, and beside each the length of the step that was taken over that of its gradient.
fn rates(config: &Config) -> Vec<(f64, f64)> {
    let sgd = Config { optimizer: OptimizerKind::Sgd, max_norm: 0.0, log_every: 1, ..config.clone() };
    let mut trainer = trainer(double(), &sgd);
    let mut before = checkpoint(&mut trainer).parameters;
    let mut rates = Vec::new();
    while let Some(event) = next(&mut trainer) {
        match event {
            Event::Step(step) => {
                let means = step.means.expect("a report at each step");
                let after = checkpoint(&mut trainer).parameters;
                let squares = after.iter().zip(&before).map(|(after, before)| f64::from(after - before).powi(2));
                rates.push((means.lr, squares.sum::<f64>().sqrt() / means.grad_norm));
                before = after;
            }
            Event::Epoch(epoch) => assert_eq!(Some(epoch.lr), rates.last().map(|rate| rate.0)),
        }
    }
    rates
}

/// Thirteen steps an epoch. The formulas themselves are held to PyTorch's numbers where they stand.
#[test]
fn the_rate_that_is_told_is_the_one_used() {
    let config = Config { lr: 0.1, lr_gamma: 0.5, ..config() };
    let schedule = |lr_schedule| Config { lr_schedule, ..config.clone() };
    let told = |config: &Config| -> Vec<f64> {
        let (told, used): (Vec<f64>, Vec<f64>) = rates(config).into_iter().unzip();
        // The parameters are read in single precision.
        compare("rates", &used, &told, 1e-5, 1e-3).unwrap();
        told
    };
    assert_eq!(told(&config), vec![0.1; 26]);
    let warm = told(&Config { warmup_steps: 4, ..config.clone() });
    compare("warm-up", &warm[..5], &[0.025, 0.05, 0.075, 0.1, 0.1], 0.0, 1e-12).unwrap();
    let step = told(&Config { lr_step_epochs: 1, ..schedule(LrSchedule::Step) });
    assert_eq!(step, [[0.1; 13], [0.05; 13]].concat());

    let cosine = told(&Config { lr_min: 0.02, ..schedule(LrSchedule::Cosine) });
    assert_eq!(cosine[0], 0.1);
    compare("half of the cosine", &cosine[13..14], &[0.06], 0.0, 1e-12).unwrap();
    assert!(cosine.windows(2).all(|pair| pair[0] > pair[1]) && cosine[25] > 0.02, "{cosine:?}");
    let cycle = told(&schedule(LrSchedule::OneCycle));
    compare("ends of the cycle", &[cycle[0], cycle[25]], &[4e-3, 4e-7], 0.0, 1e-12).unwrap();
    assert!(cycle[..7].windows(2).all(|pair| pair[0] < pair[1]), "{cycle:?}");
    assert!(cycle[7..].windows(2).all(|pair| pair[0] > pair[1]), "{cycle:?}");

    let plateau = Config { lr_patience: 0, lr_min: 0.04, epochs: 4, min_delta: 100.0, ..schedule(LrSchedule::Plateau) };
    assert_eq!(told(&plateau), [[0.1; 13], [0.1; 13], [0.05; 13], [0.04; 13]].concat());
    let patient = Config { lr_patience: 1, epochs: 4, ..plateau.clone() };
    assert_eq!(told(&patient), [[0.1; 13], [0.1; 13], [0.1; 13], [0.05; 13]].concat());

    let blind = Config { validation_share: 0.0, ..plateau };
    let refused = Trainer::new(single(), blind.clone(), dataset(noisy_sine(), &blind), None);
    assert!(matches!(refused.err(), Some(Error::Option { option: "lr_schedule", .. })));
}

/// The average follows the parameters by its formula, is what is validated and kept, and training takes no note of it.
fn averages<D: Kernels>(backend: &str, device: impl Fn() -> D, tolerance: f64) {
    const DECAY: f64 = 0.9;
    let plain = Config { epochs: 3, num_layers: 1, ..config() };
    let config = Config { ema: DECAY, ..plain.clone() };
    let mut alone = trainer(device(), &plain);
    let mut trainer = trainer(device(), &config);
    let mut want = doubles(&checkpoint(&mut trainer).parameters);
    let (mut kept, mut least) = (Vec::new(), f64::INFINITY);
    while let Some(event) = next(&mut trainer) {
        let saved = checkpoint(&mut trainer);
        let average = saved.average.expect("an average");
        let other = next(&mut alone).expect("as many events");
        let apart = checkpoint(&mut alone);
        assert_eq!((&saved.parameters, &saved.moments), (&apart.parameters, &apart.moments), "{backend}");
        assert_eq!(apart.average, None);
        match (event, other) {
            (Event::Step(step), Event::Step(other)) => {
                assert_eq!(step, other, "{backend}");
                for (want, p) in want.iter_mut().zip(doubles(&saved.parameters)) {
                    *want = DECAY * *want + (1.0 - DECAY) * p;
                }
                compare_to_largest(backend, &doubles(&average), &want, tolerance).unwrap();
            }
            (Event::Epoch(epoch), Event::Epoch(other)) => {
                let loss = epoch.val_loss.expect("a validation loss");
                assert_eq!(epoch.train_loss, other.train_loss);
                assert_ne!(epoch.val_loss, other.val_loss, "{backend}: the parameters were validated");
                // A step at no rate leaves the start parameters for the validation.
                let still = Config { optimizer: OptimizerKind::Sgd, lr: 1e-30, epochs: 1, ..plain.clone() };
                let data = dataset(noisy_sine(), &still);
                let mut check = Trainer::new(device(), still, data, Some(average.clone())).expect("a trainer");
                match events(&mut check).pop() {
                    Some(Event::Epoch(end)) => {
                        compare(backend, &[loss], &[end.val_loss.unwrap()], 0.0, tolerance).unwrap();
                    }
                    other => panic!("{other:?}"),
                }
                assert_eq!(epoch.best, loss < least);
                if epoch.best {
                    (kept, least) = (average, loss);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    let (_, model) = block_on(trainer.finish()).expect("a model");
    assert_eq!(model.parameters, kept, "{backend}: the model is not the best average");
}

#[test]
fn the_average_is_validated_and_kept() {
    averages("Cpu<f64>", double, 1e-6);
    averages("Cpu<f32>", single, 2e-6);
    averages("Gpu", gpu, 2e-6);
}

/// Each way to start gives other parameters, and all learn.
#[test]
fn it_learns_from_every_start() {
    let config = Config { epochs: 10, num_layers: 1, lr: 0.02, ..config() };
    let mut starts = Vec::new();
    for other in [
        Config { init_scheme: InitScheme::Xavier, ..config.clone() },
        Config { init_scheme: InitScheme::Orthogonal, ..config.clone() },
        Config { forget_bias: Some(1.0), ..config.clone() },
        Config { chrono: Some(12), init_scheme: InitScheme::Orthogonal, ..config.clone() },
        config,
    ] {
        starts.push(checkpoint(&mut trainer(single(), &other)).parameters);
        let test = outcome(trainer(single(), &other)).report.test.expect("test windows");
        let share = test.model.rmse / test.baselines.repeat_last.rmse;
        assert!(share < 0.4, "{other:?}: {share} of the error of repeating the last value");
    }
    for (index, start) in starts.iter().enumerate() {
        assert!(!starts[..index].contains(start), "start {index} is an earlier one");
    }
}

/// Parameters and moments are the same before and after a validation, and the steps are those of a run without any.
fn validation_touches_nothing<D: Kernels>(device: impl Fn() -> D) {
    let config = config();
    let mut with = trainer(device(), &config);
    let mut steps = Vec::new();
    while let Some(event) = next(&mut with) {
        if let Event::Step(step) = event {
            let last = step.step_in_epoch == with.steps_per_epoch();
            steps.push(step);
            if last {
                let before = checkpoint(&mut with);
                assert!(matches!(next(&mut with), Some(Event::Epoch(_))));
                let after = checkpoint(&mut with);
                assert_eq!((before.parameters, before.moments), (after.parameters, after.moments));
            }
        }
    }
    let mut without = trainer(device(), &Config { validation_share: 0.0, ..config });
    let mut alone = Vec::new();
    for event in events(&mut without) {
        match event {
            Event::Step(step) => alone.push(step),
            Event::Epoch(epoch) => assert_eq!(epoch.val_loss, None),
        }
    }
    assert_eq!(steps.len(), 2 * 13);
    assert_eq!(steps, alone);
}

#[test]
fn validation_touches_no_training_state() {
    validation_touches_nothing(single);
    validation_touches_nothing(gpu);
}

/// Whoever asks a run for its losses, its forecasts and its model after every event gets them, and the run is the same to
/// the bit.
fn looking_touches_nothing<D: Kernels>(device: impl Fn() -> D, config: &Config) {
    let whole = outcome(trainer(device(), config));
    let mut watched = trainer(device(), config);
    let (mut seen, mut losses) = (Vec::new(), Vec::new());
    let starts: Vec<u32> = watched.data().windows.test.iter().step_by(3).copied().collect();
    while let Some(event) = next(&mut watched) {
        if matches!(event, Event::Epoch(_)) {
            let forecasts = block_on(watched.forecasts(&starts)).expect("forecasts");
            assert_eq!(forecasts.point.len(), starts.len() * config.horizon);
            // The same as a forecaster makes of the same model.
            let model = block_on(watched.current()).expect("a model");
            let mut forecaster = Forecaster::new(device(), &model, watched.data().series.rows(), starts.len()).unwrap();
            let want = block_on(forecaster.predict(&watched.data().inputs(), &starts)).expect("forecasts");
            compare("forecasts", &forecasts.point, &watched.data().unscale(&want).point, 1e-6, 1e-6).unwrap();
        } else {
            losses.push(block_on(watched.losses()).expect("losses").to_vec());
        }
        seen.push(event);
    }
    assert_eq!(seen, whole.events);
    assert!(losses.iter().all(|losses| !losses.is_empty() && losses.len() % 2 == 0));
    assert!(checkpoint(&mut watched).to_bytes() == whole.checkpoint, "the last checkpoints differ");
    let (report, _) = block_on(watched.finish()).expect("a report");
    assert_eq!(report, whole.report);
}

#[test]
fn looking_touches_no_training_state() {
    let streams = Config { bptt: Some(10), head: Head::Every, ..config() };
    for config in [config(), Config { ema: 0.9, ..config() }, streams] {
        looking_touches_nothing(single, &config);
        looking_touches_nothing(gpu, &config);
    }
}

/// A run whose options change on its way goes on from its checkpoint as if it had not stopped.
fn options_change<D: Kernels>(device: impl Fn() -> D) {
    let change = Change { lr: Some(0.002), max_norm: Some(0.05), epochs: Some(3), ..Change::default() };
    let mut changed = trainer(device(), &config());
    (0..7).for_each(|_| _ = next(&mut changed));
    let before = checkpoint(&mut changed);
    changed.change(&change).expect("a change");
    assert_eq!((changed.config().lr, changed.config().max_norm, changed.config().epochs), (0.002, 0.05, 3));
    let saved = checkpoint(&mut changed);
    assert_eq!(before.parameters, saved.parameters);
    let resumed = Trainer::resume(device(), saved, dataset(noisy_sine(), changed.config())).expect("a trainer");
    let (rest, as_if) = (outcome(changed), outcome(resumed));
    assert_eq!(rest.events, as_if.events);
    assert!(rest.checkpoint == as_if.checkpoint, "the last checkpoints differ");
    let steps = rest.events.iter().filter(|event| matches!(event, Event::Step(_))).count();
    assert_eq!(steps, 3 * 13 - 7);
    let rate = rest.events.iter().find_map(|event| match event {
        Event::Step(step) => step.means.map(|means| means.lr),
        Event::Epoch(_) => None,
    });
    assert_eq!(rate, Some(0.002));

    let mut unchanged = trainer(device(), &config());
    (0..7).for_each(|_| _ = next(&mut unchanged));
    unchanged.change(&Change::default()).expect("no change");
    let whole = outcome(trainer(device(), &config()));
    assert!(outcome(unchanged).checkpoint == whole.checkpoint, "a change of nothing changes the run");
    assert_ne!(rest.model, whole.model);
}

#[test]
fn options_change_while_a_run_goes_on() {
    options_change(single);
    options_change(gpu);
}

#[test]
fn a_finished_run_goes_on_when_it_gets_more_epochs() {
    let mut run = trainer(single(), &config());
    events(&mut run);
    assert!(run.position().finished);
    run.change(&Change { epochs: Some(3), ..Change::default() }).expect("a change");
    let longer = outcome(trainer(single(), &Config { epochs: 3, ..config() }));
    assert_eq!(events(&mut run), longer.events[2 * 14..]);
    run.change(&Change { epochs: Some(1), ..Change::default() }).expect("a change");
    assert!(run.position().finished && next(&mut run).is_none());
}

#[test]
fn a_change_that_cannot_be_is_refused() {
    let refusal = |config: Config, change: Change| {
        let mut run = trainer(single(), &config);
        let error = run.change(&change).expect_err("this cannot be").to_string();
        assert_eq!(*run.config(), config);
        error
    };
    let rate = Change { lr: Some(-1.0), ..Change::default() };
    assert!(refusal(config(), rate).starts_with("option `lr`: is -1"));
    let more = Change { epochs: Some(3), ..Change::default() };
    let curve = refusal(Config { lr_schedule: LrSchedule::Cosine, ..config() }, more);
    assert!(curve.starts_with("option `epochs`: ") && curve.contains("curve"), "{curve}");
    // The norm takes the place of the value, and the other way round.
    let by_value = Change { clip_value: Some(0.1), ..Change::default() }.of(&config()).expect("a config");
    assert_eq!((by_value.clip_value, by_value.max_norm), (Some(0.1), 1.0));
    let by_norm = Change { max_norm: Some(2.0), ..Change::default() }.of(&by_value).expect("a config");
    assert_eq!((by_norm.clip_value, by_norm.max_norm), (None, 2.0));
}

/// Pulls until the run fails.
fn failure<D: Kernels>(trainer: &mut Trainer<D>) -> Error {
    for _ in 0..100 {
        match block_on(trainer.next()) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the run ended well"),
            Err(error) => return error,
        }
    }
    panic!("the run goes on and on")
}

/// The first step at an absurd rate leaves absurd but finite weights; the second one's loss overflows and is named.
fn divergence_is_named<D: Kernels>(device: impl Fn() -> D) {
    let config = Config { lr: 1e30, max_norm: 0.0, ema: 0.5, ..config() };
    let mut one = trainer(device(), &config);
    next(&mut one);
    let Checkpoint { parameters: kept, average, .. } = checkpoint(&mut one);
    assert!(kept.iter().all(|value| value.is_finite()) && kept.iter().any(|value| value.abs() > 1e29));

    let mut trainer = trainer(device(), &config);
    match failure(&mut trainer) {
        Error::Diverged { step, tensor } => assert_eq!((step, tensor.as_str()), (2, "loss")),
        other => panic!("{other}"),
    }
    let saved = checkpoint(&mut trainer);
    assert_eq!(saved.parameters, kept, "the weights before the step are kept");
    assert!(average.is_some() && saved.average == average, "the average before the step is kept");
    assert!(saved.moments.iter().all(|value| value.is_finite()));
    assert_eq!(Checkpoint::from_bytes("last.ckpt", &saved.to_bytes()).expect("a checkpoint"), saved);
    let model = block_on(trainer.model()).expect("a model");
    assert!(model.parameters.iter().all(|value| value.is_finite()));

    // Where it began: a start weight that is not a number, in one tensor after the other.
    let shape = NetworkShape::new(&config, 1, 1);
    for (name, expected) in [
        ("lstm.weight_ih_l0", "c of layer 0"),
        ("lstm.bias_hh_l1", "c of layer 1"),
        ("lstm.weight_hh_l1", "c of layer 1"),
        ("fc.bias", "prediction"),
    ] {
        let mut init = initial_parameters(&shape, 0);
        let tensor = shape.tensors().into_iter().find(|tensor| tensor.name == name).expect("a tensor");
        init[tensor.offset] = f32::NAN;
        let data = dataset(noisy_sine(), &config);
        let mut trainer = Trainer::new(device(), config.clone(), data, Some(init)).expect("a trainer");
        match failure(&mut trainer) {
            Error::Diverged { step, tensor } => assert_eq!((step, tensor.as_str()), (1, expected), "{name}"),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn divergence_names_step_and_tensor() {
    divergence_is_named(single);
    divergence_is_named(gpu);
}

/// The last step of an epoch may be the one that ruins the weights; the validation meets them first and says so.
fn ruined_validation<D: Kernels>(device: impl Fn() -> D) {
    let config = Config { lr: 1e30, batch_size: 500, ..config() };
    let mut trainer = trainer(device(), &config);
    assert!(matches!(next(&mut trainer), Some(Event::Step(_))));
    match failure(&mut trainer) {
        Error::Diverged { step: 1, tensor } => assert_eq!(tensor, "validation loss"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_validation_loss_that_overflows_stops_the_run() {
    ruined_validation(single);
    ruined_validation(gpu);
}

fn bytes_of(needs: &[Need], element: usize) -> u64 {
    needs.iter().map(|need| (need.len * element) as u64).sum()
}

/// What is checked before a run is what the run takes, and it takes no more later.
fn memory_is_what_was_checked<D: Kernels>(device: impl Fn() -> D, ema: f64) {
    let config = Config { ema, ..config() };
    let (element, shape) = (size_of::<D::Element>(), NetworkShape::new(&config, 1, 1));
    let empty = device();
    assert_eq!(empty.allocated(), 0);
    let network = bytes_of(&shape.needs(&empty), element);
    let _net = Network::new(&empty, shape);
    assert_eq!(empty.allocated(), network, "the network");

    let mut trainer = trainer(device(), &config);
    let (data, p) = (trainer.data(), shape.parameters());
    let windows = &data.windows;
    let own =
        Rule::from(&config).moments() * p + 2 * data.series.rows() + 2 * 13 + Status::LEN + empty.norm_scratch_len(p);
    let starts = windows.train.len() + windows.validation.len() + windows.test.len();
    let own = own + if ema > 0.0 { p } else { 0 };
    let all = network + (own * element + starts * size_of::<u32>()) as u64;
    assert_eq!(trainer.device().allocated(), all, "the run");
    events(&mut trainer);
    assert_eq!(trainer.device().allocated(), all, "the run, once it has run");
}

#[test]
fn memory_is_what_was_checked_on_every_device() {
    for ema in [0.0, 0.9] {
        memory_is_what_was_checked(double, ema);
        memory_is_what_was_checked(single, ema);
        memory_is_what_was_checked(gpu, ema);
    }
}

/// Refused before a buffer or a list of start weights is made, with the number of bytes and the option to lower.
fn too_large_is_refused<D: Kernels>(device: D, limit_part: &str) {
    let config = Config { hidden_size: 200_000, ..config() };
    match Trainer::new(device, config.clone(), dataset(noisy_sine(), &config), None).err() {
        Some(Error::Memory { bytes, limit, allowed, remedy, .. }) => {
            assert!(bytes > allowed, "{bytes} {allowed}");
            assert!(limit.contains(limit_part), "{limit}");
            assert!(remedy.contains("hidden_size"), "{remedy}");
        }
        Some(other) => panic!("{other}"),
        None => panic!("200 000 units fit"),
    }
}

#[test]
fn a_run_that_does_not_fit_is_refused() {
    too_large_is_refused(single(), "memory");
    too_large_is_refused(gpu(), "max_");
    let device = gpu();
    let shape = NetworkShape::new(&Config { hidden_size: 200_000, ..config() }, 1, 1);
    assert!(device.check(&shape.needs(&device)).is_err());
    assert_eq!(device.allocated(), 0);
    let small = NetworkShape::new(&config(), 1, 1);
    assert!(device.check(&small.needs(&device)).is_ok());
}

/// Every step is the same commands, in few submissions, reads nothing back, sends little more than the parameters
/// that change, and makes nothing anew once each batch size has been seen.
fn steps_are_alike(config: &Config) {
    let mut trainer = trainer(gpu(), config);
    let (mut dispatches, mut quiet, mut made, mut uploaded, mut submissions) = (Vec::new(), 0, Vec::new(), 0, 0);
    loop {
        let before = trainer.device().counts();
        let event = next(&mut trainer);
        let after = trainer.device().counts();
        match event {
            Some(Event::Step(step)) => {
                dispatches.push(after.dispatches - before.dispatches);
                if step.step_in_epoch > 1 && step.means.is_none() {
                    submissions += after.submissions - before.submissions;
                    assert_eq!(after.read, before.read, "step {}", step.step);
                    quiet += 1;
                }
                if step.epoch > 1 {
                    made.push(after.created - before.created);
                    // An epoch's first step sends the order of the windows.
                    uploaded += if step.step_in_epoch > 1 { after.uploaded - before.uploaded } else { 0 };
                }
            }
            Some(Event::Epoch(_)) => {}
            None => break,
        }
    }
    assert_eq!(dispatches.len(), 26);
    assert!(dispatches.iter().all(|count| *count == dispatches[0]), "{dispatches:?}");
    assert!(quiet > 10, "{quiet} steps without a report");
    // A machine that stalls is taken for a slow one, for a few steps.
    assert!(submissions <= 2 * quiet, "{submissions} submissions of {quiet} steps");
    assert!(!made.is_empty() && made.iter().all(|count| *count == 0), "{made:?}");
    assert!((1..2048 * made.len() as u64).contains(&uploaded), "{uploaded} bytes in {} steps", made.len());
}

/// Steps that wait for each other before they are handed to the device come out as those that do not.
#[test]
fn steps_handed_over_together_change_no_bit() {
    let finished = |log_every| {
        let mut trainer = trainer(gpu(), &Config { log_every, ..config() });
        while next(&mut trainer).is_some() {}
        (trainer.device().counts().submissions, block_on(trainer.checkpoint()).expect("a checkpoint").parameters)
    };
    let ((alone, each), (together, all)) = (finished(1), finished(1000));
    assert!(together < alone, "{together} submissions, {alone} with a report after each step");
    assert!(each == all);
}

#[test]
fn steps_are_equal_commands() {
    let config = Config { log_every: 1000, ..config() };
    steps_are_alike(&config);
    steps_are_alike(&Config { ema: 0.9, lr_schedule: LrSchedule::OneCycle, ..config });
}

/// A whole step, from its windows to the optimizer, of both small shapes of the benchmarks takes at most 20 dispatches in
/// hardware's tiles, however long the sequences. (Batches of 8 where theirs are 64: that changes no count.)
#[test]
fn a_step_takes_few_dispatches() {
    for (columns, hidden_size, batch_size, window) in [(1, 64, 64, 10), (8, 128, 8, 96), (8, 128, 8, 256)] {
        let config = Config { window, hidden_size, horizon: 1, batch_size, ..config() };
        let rows = 2 * (window + config.batch_size);
        let mut numbers = Rng::new(5, Stream::Init);
        let values = (0..rows * columns).map(|_| numbers.uniform()).collect();
        let names = (0..columns).map(|column| format!("column {column}")).collect();
        let series = Series { file: "made.csv".into(), columns: names, values, time: None };
        let device = common::tuned(Tuning::HARDWARE);
        let mut trainer = Trainer::new(device, config.clone(), dataset(series, &config), None).expect("a trainer");
        let before = trainer.device().counts().dispatches;
        assert!(matches!(next(&mut trainer), Some(Event::Step(_))));
        let dispatches = trainer.device().counts().dispatches - before;
        assert!((10..=20).contains(&dispatches), "{dispatches} at H = {hidden_size}, T = {window}");
    }
}

/// What one dispatch would take too long for is done by several: more of them, and the same bits, unless layers then go side by
/// side, where the first one's inputs are multiplied by themselves, or weights' gradients are summed a few hundred rows at a time.
#[test]
fn long_dispatches_are_cut() {
    let config = Config { window: 8, hidden_size: 20, num_layers: 2, batch_size: 16, ..config() };
    let recurrence = Recurrence { inputs: 0, ..Tuning::HARDWARE.recurrence };
    let steps = Recurrence { persistent_to: 0, ..Tuning::HARDWARE.recurrence };
    let by_steps = [Tuning { recurrence: steps, ..Tuning::SOFTWARE }, Tuning { recurrence: steps, ..Tuning::HARDWARE }];
    for tuning in [Tuning::SOFTWARE, Tuning { recurrence, ..Tuning::HARDWARE }].into_iter().chain(by_steps) {
        let [whole, cut] = [0, 10_000].map(|operations| {
            let device = common::tuned(Tuning { operations, ..tuning });
            let data = dataset(noisy_sine(), &config);
            let mut trainer = Trainer::new(device, config.clone(), data, None).expect("a trainer");
            for _ in 0..3 {
                assert!(matches!(next(&mut trainer), Some(Event::Step(_))));
            }
            (trainer.device().counts().dispatches, checkpoint(&mut trainer).parameters)
        });
        assert!(cut.0 > whole.0 + 60, "{} dispatches, cut {}", whole.0, cut.0);
        assert_eq!(whole.1, cut.1);
    }
}
