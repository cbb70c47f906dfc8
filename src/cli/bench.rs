//! `bptt bench`: the time of one training step, after its result was checked.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

use bptt::config::{Config, DeviceKind, Head, Precision};
use bptt::device::{Cpu, Device, Gpu, GpuOptions, Real};
use bptt::error::{Error, Result};
use bptt::kernels::{Kernels, LstmShape, Noise, Packing, Record, Rule};
use bptt::model::{Batch, Network, NetworkShape, Optimizer, initial_parameters};
use bptt::rng::{Rng, Stream};
use pollster::block_on;
use serde_json::json;

use super::Global;
use super::profile::{self, Ceilings};
use super::train::open_engine;
use super::tune;

#[derive(clap::Args)]
pub struct BenchArgs {
    /// Inputs, hidden size, layers, batch and time steps, or a name from S1 to S5; can be repeated
    #[arg(long, value_name = "I=1,H=64,L=2,B=64,T=10", default_value = "S1")]
    shape: Vec<Shape>,
    #[command(flatten)]
    options: Options,
    /// What products are made of
    #[arg(long, value_enum, default_value_t, hide_possible_values = true, value_name = "f32|mixed")]
    precision: Precision,
    /// Timed regions
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Show the time of each kernel of a GPU's step instead, beside what the GPU can do
    #[arg(long)]
    profile: bool,
}

/// What the shapes get beside their sizes. If any is given, steps with them take turns with plain ones and the ratio is
/// printed.
#[derive(clap::Args, Clone, Copy, PartialEq)]
struct Options {
    /// Also read the input from the last step to the first
    #[arg(long, help_heading = "Compared with the plain step")]
    bidirectional: bool,
    /// Project each layer's output to this width
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Compared with the plain step")]
    proj_size: usize,
    /// Normalise the gates and c
    #[arg(long, help_heading = "Compared with the plain step")]
    layer_norm: bool,
    /// Let the sequences' lengths be uniform in 1..T rather than all T
    #[arg(long, help_heading = "Compared with the plain step")]
    lengths: bool,
    /// Dropout between layers
    #[arg(long, value_name = "RATE", default_value_t = 0.0, help_heading = "Compared with the plain step")]
    dropout: f64,
    /// One mask of dropout for all time steps of a sequence
    #[arg(long, help_heading = "Compared with the plain step")]
    locked_dropout: bool,
    /// Dropout on h on its way into the gates
    #[arg(long, value_name = "RATE", default_value_t = 0.0, help_heading = "Compared with the plain step")]
    recurrent_dropout: f64,
    /// Dropout on the recurrent weights
    #[arg(long, value_name = "RATE", default_value_t = 0.0, help_heading = "Compared with the plain step")]
    weight_drop: f64,
    /// Elements of h that keep their value
    #[arg(long, value_name = "RATE", default_value_t = 0.0, help_heading = "Compared with the plain step")]
    zoneout_h: f64,
    /// Elements of c that keep their value
    #[arg(long, value_name = "RATE", default_value_t = 0.0, help_heading = "Compared with the plain step")]
    zoneout_c: f64,
    /// Keep this many time steps for the backward pass and compute the others again
    #[arg(long, value_name = "STEPS", default_value_t = 0, help_heading = "Compared with the plain step")]
    checkpoint_every: usize,
}

impl Options {
    const NONE: Self = Self {
        bidirectional: false,
        proj_size: 0,
        layer_norm: false,
        lengths: false,
        dropout: 0.0,
        locked_dropout: false,
        recurrent_dropout: 0.0,
        weight_drop: 0.0,
        zoneout_h: 0.0,
        zoneout_c: 0.0,
        checkpoint_every: 0,
    };

    /// The options of a run with a stack of this shape, checked as a run's are.
    fn checked(&self, lstm: &LstmShape) -> Result<()> {
        let config = Config {
            window: lstm.steps,
            hidden_size: lstm.hidden_size,
            num_layers: lstm.num_layers,
            bidirectional: self.bidirectional,
            proj_size: self.proj_size,
            layer_norm: self.layer_norm,
            dropout: self.dropout,
            locked_dropout: self.locked_dropout,
            recurrent_dropout: self.recurrent_dropout,
            weight_drop: self.weight_drop,
            zoneout_h: self.zoneout_h,
            zoneout_c: self.zoneout_c,
            checkpoint_every: self.checkpoint_every,
            ..Config::default()
        };
        if self.lengths && self.checkpoint_every > 0 {
            let problem = "cuts sequences of equal length only";
            return Err(Error::option("checkpoint_every", problem, "leave out it or `lengths`"));
        }
        config.validate()
    }
}

/// A stack with a linear head of one output on the last step.
#[derive(Clone, Copy)]
struct Shape(LstmShape);

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = match text {
            "S1" => "I=1,H=64,L=2,B=64,T=10",
            "S2" => "I=8,H=128,L=2,B=64,T=96",
            "S3" => "I=128,H=256,L=2,B=64,T=128",
            "S4" => "I=512,H=512,L=2,B=64,T=256",
            "S5" => "I=1024,H=1024,L=2,B=128,T=128",
            other => other,
        };
        let mut sizes = [None; 5];
        for part in text.split(',') {
            let (key, value) = part.split_once('=').ok_or(format!("`{part}` is not LETTER=NUMBER"))?;
            let place = "IHLBT".find(key.trim()).filter(|_| key.trim().len() == 1);
            let place = place.ok_or(format!("`{key}` is none of I, H, L, B, T"))?;
            let most = if place == 2 { 1_000 } else { 1_000_000 };
            let value = value.trim().parse().ok().filter(|value| (1..=most).contains(value));
            sizes[place] = Some(value.ok_or(format!("`{part}`: not a whole number from 1 to {most}"))?);
        }
        let [Some(input_size), Some(hidden_size), Some(num_layers), Some(batch), Some(steps)] = sizes else {
            return Err("I, H, L, B and T are all needed".into());
        };
        Ok(Self(LstmShape { steps, batch, input_size, hidden_size, num_layers, ..LstmShape::default() }))
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let LstmShape { steps, batch, input_size, hidden_size, num_layers, .. } = self.0;
        write!(f, "I={input_size},H={hidden_size},L={num_layers},B={batch},T={steps}")
    }
}

impl Shape {
    /// The network with `options`.
    fn with(self, options: &Options) -> NetworkShape {
        let noise = Noise {
            dropout: options.dropout,
            locked: options.locked_dropout,
            recurrent_dropout: options.recurrent_dropout,
            weight_drop: options.weight_drop,
            zoneout_h: options.zoneout_h,
            zoneout_c: options.zoneout_c,
            seed: 1,
        };
        let Options { bidirectional, proj_size, layer_norm, lengths: ragged, checkpoint_every, .. } = *options;
        let lstm = LstmShape { bidirectional, proj_size, layer_norm, ragged, noise, ..self.0 };
        NetworkShape { lstm, checkpoint_every, ..self.network() }
    }

    fn network(self) -> NetworkShape {
        NetworkShape { lstm: self.0, output_size: 1, parts: 1, head: Head::Last, classes: false, checkpoint_every: 0 }
    }

    /// Floating-point operations of the products of one step: two for each multiply-add, the backward pass twice the
    /// forward pass but for the first layer's input gradient, which nobody needs.
    fn operations(self) -> f64 {
        let LstmShape { steps, batch, input_size, hidden_size, num_layers, .. } = self.0;
        let gates = 2.0 * (steps * batch * 4 * hidden_size) as f64;
        let above = gates * (2 * hidden_size * (num_layers - 1)) as f64;
        let first = gates * (input_size + hidden_size) as f64;
        3.0 * (above + first) - gates * input_size as f64 + 6.0 * (batch * hidden_size) as f64
    }
}

pub fn run(args: &BenchArgs, global: &Global) -> Result<ExitCode> {
    if args.profile {
        return profile(args, global);
    }
    let engine = open_engine(global, args.precision)?;
    bptt::on!(engine, device => {
        check(&device, global)?;
        for &shape in &args.shape {
            args.options.checked(&shape.0)?;
            time(&device, shape, &args.options, args.steps as usize, global)?;
        }
    });
    Ok(ExitCode::SUCCESS)
}

/// Kernel by kernel, on the GPU that a run would take.
fn profile(args: &BenchArgs, global: &Global) -> Result<ExitCode> {
    let (adapter, hardware_only) =
        (global.adapter.clone(), global.device == DeviceKind::Auto && global.adapter.is_none());
    let gpu = match global.device {
        DeviceKind::Cpu => None,
        _ => Some(block_on(Gpu::open(GpuOptions {
            adapter,
            hardware_only,
            profile: true,
            precision: args.precision,
            tuned: tune::known(),
            ..GpuOptions::default()
        }))?),
    };
    let problem = "shows the kernels of a GPU, and the device is `cpu`";
    let gpu = gpu.ok_or_else(|| Error::option("profile", problem, "use `--device gpu`"))?;
    global.say(&format!("computing on the GPU: {}", gpu.adapter()));
    check(&gpu, global)?;
    let ceilings = Ceilings::measure(&gpu)?;
    for &shape in &args.shape {
        args.options.checked(&shape.0)?;
        let mut step = Step::new(&gpu, shape.with(&args.options))?;
        step.take()?;
        step.wait()?;
        block_on(gpu.profile())?;
        for _ in 0..args.steps {
            step.take()?;
        }
        let name = if args.options == Options::NONE { shape.to_string() } else { format!("{shape} with the options") };
        profile::print(&name, args.steps as usize, &block_on(gpu.profile())?, &ceilings, global);
    }
    Ok(ExitCode::SUCCESS)
}

/// Lengths of a batch, uniform in 1..steps, the same for whoever else measures them.
fn spread(steps: usize, batch: usize) -> impl Iterator<Item = usize> {
    (0..batch).map(move |n| 1 + (2 * n + 1) * steps / (2 * batch))
}

/// One network that is trained on one batch again and again.
struct Step<'a, D: Kernels> {
    device: &'a D,
    net: Network<D>,
    batch: Batch,
    optimizer: Optimizer<D>,
    history: D::Buffer,
    /// Bytes of buffers that were asked for before any was made.
    needed: u64,
    taken: u64,
}

impl<'a, D: Kernels> Step<'a, D> {
    fn new(device: &'a D, shape: NetworkShape) -> Result<Self> {
        let rule = Rule::from(&Config::default());
        let p = shape.parameters();
        let needs: Vec<_> = shape.needs(device).into_iter().chain(Optimizer::needs(device, &rule, p)).collect();
        device.check(&needs)?;
        let needed = needs.iter().map(|need| (need.len * size_of::<D::Element>()) as u64).sum();
        let mut net = Network::new(device, shape);
        let mut rng = Rng::new(1, Stream::Init);
        let lengths: Vec<usize> = match shape.lstm.ragged {
            true => spread(shape.lstm.steps, shape.lstm.batch).collect(),
            false => vec![shape.lstm.steps; shape.lstm.batch],
        };
        let batch = Batch::of(Packing::new(&lengths, shape.lstm.steps)?.0).training(0);
        let mut random =
            |len: usize| -> Vec<D::Element> { (0..len).map(|_| D::Element::of(rng.uniform() - 0.5)).collect() };
        device.write(&mut net.x, &random(shape.lstm.steps * shape.lstm.batch * shape.lstm.input_size));
        device.write(&mut net.target, &random(shape.targets(&batch.packing)));
        let parameters = initial_parameters(&shape, 0);
        let parameters: Vec<_> = parameters.iter().map(|&value| D::Element::of(f64::from(value))).collect();
        device.write(&mut net.params, &parameters);
        let (optimizer, history) = (Optimizer::new(device, rule, p), device.buffer("the losses", 2));
        Ok(Self { device, net, batch, optimizer, history, needed, taken: 0 })
    }

    /// Forward, loss, backward, clip, Adam.
    fn take(&mut self) -> Result<()> {
        let config = Config::default();
        let loss = self.net.shape.loss(&config, &self.batch.packing, 1.0);
        self.taken += 1;
        self.batch.draw = Some(self.taken as u32);
        self.net.zero_gradients(self.device);
        self.net.forward(self.device, &self.batch);
        self.net.loss(self.device, &loss, Record { row: 0, add: false }, &mut self.history);
        self.optimizer.scale(self.device, &mut self.net, &loss);
        self.net.backward(self.device, &self.batch, None);
        self.optimizer.step(self.device, &mut self.net, self.taken, 1e-3, 0, &mut self.history);
        self.device.submit()
    }

    /// Waits until all steps are done.
    fn wait(&self) -> Result<()> {
        block_on(self.device.read(&self.history, 0..2)).map(drop)
    }

    fn gradients(&self) -> Result<Vec<f64>> {
        let range = 0..self.net.shape.parameters();
        Ok(block_on(self.device.read(&self.net.d_params, range))?.into_iter().map(Real::double).collect())
    }
}

/// Compares the gradients of two steps on a small network with the definition's; where products are of 16-bit numbers also on
/// one whose time steps have such products.
fn check<D: Kernels>(device: &D, global: &Global) -> Result<()> {
    let small = LstmShape { steps: 7, batch: 5, input_size: 3, hidden_size: 20, num_layers: 2, ..LstmShape::default() };
    check_on(device, small, global)?;
    match device.precision() {
        Precision::F32 => Ok(()),
        Precision::Mixed => check_on(device, LstmShape { steps: 3, hidden_size: 256, num_layers: 1, ..small }, global),
    }
}

fn check_on<D: Kernels>(device: &D, lstm: LstmShape, global: &Global) -> Result<()> {
    let definition = Cpu::<f64>::new();
    let shape = Shape(lstm).network();
    let (mut ours, mut exact) = (Step::new(device, shape)?, Step::new(&definition, shape)?);
    // Small enough that no step is left out.
    let scale = device.first_scale().min(256.0);
    ours.optimizer.set_loss_scale(device, [0.0, scale, 0.0]);
    for step in 1..=2 {
        ours.take()?;
        exact.take()?;
        let got = ours.gradients()?.into_iter().map(|got| got / f64::from(scale));
        let want = exact.gradients()?;
        let largest = want.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        let apart = got
            .zip(&want)
            .map(|(got, want)| (got - want).abs())
            .fold(0.0, |most: f64, apart| if apart.is_nan() { f64::INFINITY } else { most.max(apart) });
        let most = if scale == 1.0 { 2e-5 } else { 2e-3 };
        if apart > most * largest {
            let problem = format!("`{}` computes wrong gradients: {apart:e} apart, of {largest:e}", device.adapter());
            return Err(Error::device(problem, "do not train on it; try another driver or `--device cpu`"));
        }
        let share = apart / largest;
        global.say(&format!(
            "checked: gradients of step {step} are {share:.1e} of the largest away from double precision"
        ));
    }
    Ok(())
}

/// Times of a step in milliseconds.
struct Times {
    sorted: Vec<f64>,
    /// Steps in each.
    together: usize,
    first: f64,
    needed: u64,
    bytes: u64,
}

impl Times {
    fn median(&self) -> f64 {
        self.sorted[self.sorted.len() / 2]
    }
}

/// Steps of each network in turns, so that what disturbs the machine disturbs all alike.
fn measure<D: Kernels>(device: &D, networks: &[NetworkShape], regions: usize) -> Result<Vec<Times>> {
    // A GPU is kept busy over several steps, as in training; one wait ends each region.
    let together = if device.kind() == "gpu" { 10 } else { 1 };
    let mut steps = Vec::new();
    for &network in networks {
        let (before, begun) = (device.allocated(), Instant::now());
        let mut step = Step::new(device, network)?;
        step.take()?;
        step.wait()?;
        let first = begun.elapsed().as_secs_f64() * 1e3;
        for _ in 0..2 {
            step.take()?;
        }
        step.wait()?;
        let (needed, bytes) = (step.needed, device.allocated() - before);
        steps.push((step, Times { sorted: Vec::new(), together, first, needed, bytes }));
    }
    for _ in 0..regions {
        for (step, times) in &mut steps {
            let begun = Instant::now();
            for _ in 0..together {
                step.take()?;
            }
            step.wait()?;
            times.sorted.push(begun.elapsed().as_secs_f64() * 1e3 / together as f64);
        }
    }
    let sorted = |(_, mut times): (_, Times)| {
        times.sorted.sort_by(f64::total_cmp);
        times
    };
    Ok(steps.into_iter().map(sorted).collect())
}

fn time<D: Kernels>(device: &D, shape: Shape, options: &Options, regions: usize, global: &Global) -> Result<()> {
    let mut networks = vec![shape.network()];
    if *options != Options::NONE {
        networks.push(shape.with(options));
    }
    let all = measure(device, &networks, regions)?;
    let plain = &all[0];
    report(device, &shape.to_string(), plain, Some(shape.operations() / plain.median() / 1e6), global);
    if let Some(with) = all.get(1) {
        report(device, &format!("{shape} with the options"), with, None, global);
        let (ratio, memory) = (with.median() / plain.median(), with.bytes as f64 / plain.bytes as f64);
        if global.json {
            out!("{}", json!({ "shape": shape.to_string(), "time_ratio": ratio, "memory_ratio": memory }));
        } else {
            out!("{:28} {ratio:9.3} times the plain step, {memory:.3} times its memory", "");
        }
    }
    Ok(())
}

fn report<D: Kernels>(device: &D, shape: &str, times: &Times, gflops: Option<f64>, global: &Global) {
    let (median, least, most) = (times.median(), times.sorted[0], times.sorted[times.sorted.len() - 1]);
    if global.json {
        let mode = if device.precision() == Precision::F32 { "fp32" } else { "mixed" };
        let line = json!({
            "device": device.kind(), "adapter": device.adapter(), "shape": shape, "mode": mode,
            "ms_median": median, "ms_min": least, "ms_max": most, "steps": times.sorted.len() * times.together,
            "first_step_ms": times.first, "gflops": gflops, "bytes": times.bytes, "bytes_needed": times.needed,
        });
        out!("{line}");
    } else {
        let bytes = bptt::error::Bytes(times.bytes);
        let speed = gflops.map_or(String::new(), |gflops| format!("  {gflops:8.2} GFLOP/s"));
        out!("{shape:28} {median:9.3} ms a step ({least:.3} to {most:.3}){speed}  {bytes}");
    }
}
