//! Burn's time for one LSTM training step, in the lines that `bptt bench` prints.
//!
//! A step is Burn's own `Lstm` layers, a linear head on the last state, MSE, backward, clipping to norm 1.0 and Adam
//! (1e-3), float32, as in `bptt bench` and `benches/pytorch.py`. Two things differ in Burn's favour: the head takes the
//! final state, which spares the top layer's outputs a backward pass, and Burn clips each tensor by its own norm rather
//! than all by one.
//!
//! `first_step_ms` includes compiling the kernels and choosing between their variants, `bytes` is what Burn's allocator
//! has reserved after the last step.

use std::fmt;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

use burn::grad_clipping::GradientClippingConfig;
use burn::module::Module;
use burn::nn::loss::{MseLoss, Reduction};
use burn::nn::{Linear, LinearConfig, Lstm, LstmConfig};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Distribution, Tensor};
use serde_json::json;

const USAGE: &str = "\
Usage: burn-bench [OPTIONS]

  --shape <I=1,H=64,L=2,B=64,T=10>  Inputs, hidden size, layers, batch and time steps, or a name from S1 to S5;
                                    can be repeated [default: S1]
  --steps <N>                       Timed regions [default: 20]
  --together <N>                    Steps of a region, which ends with a wait for the device [default: 10 on a GPU,
                                    1 on the CPU, as in `bptt bench`]
  --device <gpu|cpu>                Backend `wgpu` or `flex`, if it was built in [default: the first that was]
  --json                            Print one JSON object a shape
";
const WARM_UP: usize = 3;
const LEARNING_RATE: f64 = 1e-3;

type Error = Box<dyn std::error::Error>;

/// A stack with a linear head of one output on the last step.
#[derive(Clone, Copy)]
struct Shape {
    inputs: usize,
    hidden: usize,
    layers: usize,
    batch: usize,
    time: usize,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sizes = match text {
            "S1" => "I=1,H=64,L=2,B=64,T=10",
            "S2" => "I=8,H=128,L=2,B=64,T=96",
            "S3" => "I=128,H=256,L=2,B=64,T=128",
            "S4" => "I=512,H=512,L=2,B=64,T=256",
            "S5" => "I=1024,H=1024,L=2,B=128,T=128",
            other => other,
        };
        let of = |letter: &str| {
            let mut values = sizes.split(',').filter_map(|part| part.strip_prefix(letter)?.strip_prefix('='));
            let value = values.next().and_then(|value| value.parse().ok()).filter(|&value| value > 0);
            value.ok_or_else(|| format!("`{text}` is neither one of S1 to S5 nor like I=1,H=64,L=2,B=64,T=10"))
        };
        Ok(Self { inputs: of("I")?, hidden: of("H")?, layers: of("L")?, batch: of("B")?, time: of("T")? })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inputs, hidden, layers, batch, time } = self;
        write!(f, "I={inputs},H={hidden},L={layers},B={batch},T={time}")
    }
}

impl Shape {
    /// Floating-point operations of the products of one step: two for each multiply-add, the backward pass twice the
    /// forward pass but for the gradient of the input, which nobody needs.
    fn operations(self) -> f64 {
        let Self { inputs, hidden, layers, batch, time } = self;
        let gates = 2.0 * (batch * time * 4 * hidden) as f64;
        let first_input = gates * inputs as f64;
        let forward = first_input + gates * (hidden * (2 * layers - 1)) as f64 + 2.0 * (batch * hidden) as f64;
        3.0 * forward - first_input
    }
}

struct Args {
    shapes: Vec<Shape>,
    regions: usize,
    together: Option<usize>,
    device: Option<String>,
    json: bool,
}

impl Args {
    /// What the command line says; nothing if it asks for help.
    fn parse() -> Result<Option<Self>, Error> {
        let mut args = Self { shapes: Vec::new(), regions: 20, together: None, device: None, json: false };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value"));
            match word.as_str() {
                "--shape" => args.shapes.push(value()?.parse()?),
                "--steps" => args.regions = count(&word, &value()?)?,
                "--together" => args.together = Some(count(&word, &value()?)?),
                "--device" => args.device = Some(value()?),
                "--json" => args.json = true,
                "-h" | "--help" => return Ok(None),
                _ => return Err(format!("unknown option `{word}`; see --help").into()),
            }
        }
        if args.shapes.is_empty() {
            args.shapes.push("S1".parse()?);
        }
        Ok(Some(args))
    }
}

fn count(option: &str, text: &str) -> Result<usize, String> {
    let value = text.parse().ok().filter(|&value| value > 0);
    value.ok_or_else(|| format!("`{option} {text}`: not a whole number of at least 1"))
}

/// A device, and how the lines call it.
struct Engine {
    device: Device,
    kind: &'static str,
    adapter: String,
    backend: String,
}

impl Engine {
    fn open(kind: Option<&str>) -> Result<Self, Error> {
        match kind {
            #[cfg(feature = "wgpu")]
            None | Some("gpu") => {
                let (device, setup) = Device::wgpu_options().init_with_setup()?;
                let backend = format!("wgpu on {:?}", setup.backend);
                Ok(Self { device, kind: "gpu", adapter: setup.adapter.get_info().name, backend })
            }
            #[cfg(feature = "flex")]
            None | Some("cpu") => {
                Ok(Self { device: Device::flex(), kind: "cpu", adapter: processor(), backend: "flex".into() })
            }
            _ => Err("no such backend in this program: build it with `--features wgpu` (gpu) or `flex` (cpu)".into()),
        }
    }
}

#[cfg(feature = "flex")]
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = std::env::var("RAYON_NUM_THREADS").unwrap_or_else(|_| threads.to_string());
    format!("{}, {threads} threads", name.map_or(std::env::consts::ARCH, |(_, name)| name.trim()))
}

#[derive(Module, Debug)]
struct Model {
    layers: Vec<Lstm>,
    head: Linear,
}

impl Model {
    fn new(shape: Shape, device: &Device) -> Self {
        let layer = |index| LstmConfig::new(if index == 0 { shape.inputs } else { shape.hidden }, shape.hidden, true);
        Self {
            layers: (0..shape.layers).map(|index| layer(index).init(device)).collect(),
            head: LinearConfig::new(shape.hidden, 1).init(device),
        }
    }

    /// `[B, T, I]` to `[B, 1]`.
    fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let (first, above) = self.layers.split_first().expect("a shape has layers");
        let (mut outputs, mut state) = first.forward(x, None);
        for layer in above {
            (outputs, state) = layer.forward(outputs, None);
        }
        self.head.forward(state.hidden)
    }
}

/// One network that is trained on one batch again and again.
struct Step {
    device: Device,
    model: Option<Model>,
    optimizer: ModuleOptimizer,
    x: Tensor<3>,
    target: Tensor<2>,
}

impl Step {
    fn new(shape: Shape, device: &Device) -> Self {
        let device = device.clone().autodiff();
        device.seed(0);
        let values = Distribution::Uniform(-0.5, 0.5);
        let clip = Some(GradientClippingConfig::Norm(1.0));
        Self {
            model: Some(Model::new(shape, &device)),
            optimizer: AdamConfig::new().with_epsilon(1e-8).with_grad_clipping(clip).init(),
            x: Tensor::random([shape.batch, shape.time, shape.inputs], values, &device),
            target: Tensor::random([shape.batch, 1], values, &device),
            device,
        }
    }

    /// Forward, loss, backward, clip, Adam. Gives the loss.
    fn take(&mut self) -> Tensor<1> {
        let model = self.model.take().expect("each step puts the model back");
        let loss = MseLoss::new().forward(model.forward(self.x.clone()), self.target.clone(), Reduction::Mean);
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        self.model = Some(self.optimizer.step(LEARNING_RATE, model, gradients));
        loss.detach()
    }

    /// Waits until all steps are done.
    fn wait(&self) -> Result<(), Error> {
        Ok(self.device.sync()?)
    }
}

/// Times of a step in milliseconds.
struct Times {
    sorted: Vec<f64>,
    first: f64,
    bytes: Option<u64>,
}

fn measure(shape: Shape, device: &Device, regions: usize, together: usize) -> Result<Times, Error> {
    let begun = Instant::now();
    let mut step = Step::new(shape, device);
    let start = step.take();
    step.wait()?;
    let first = begun.elapsed().as_secs_f64() * 1e3;
    for _ in 1..WARM_UP {
        step.take();
    }
    step.wait()?;
    let (mut sorted, mut end) = (Vec::new(), start.clone());
    for _ in 0..regions {
        let begun = Instant::now();
        for _ in 0..together {
            end = step.take();
        }
        step.wait()?;
        sorted.push(begun.elapsed().as_secs_f64() * 1e3 / together as f64);
    }
    sorted.sort_by(f64::total_cmp);
    let bytes = device.memory_pool_usage().map(|usage| usage.bytes_reserved);
    let (start, end): (f32, f32) = (start.into_scalar(), end.into_scalar());
    if !end.is_finite() || end == start {
        return Err(format!("{shape} does not train: loss {start}, then {end}").into());
    }
    eprintln!("{shape}: loss {start}, after {} steps {end}", WARM_UP + regions * together - 1);
    Ok(Times { sorted, first, bytes })
}

fn report(engine: &Engine, shape: Shape, times: &Times, together: usize, json: bool) {
    let (sorted, shape_text) = (&times.sorted, shape.to_string());
    let (median, least, most) = (sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1]);
    let gflops = shape.operations() / median / 1e6;
    if json {
        let line = json!({
            "device": engine.kind, "adapter": engine.adapter, "shape": shape_text, "mode": "fp32",
            "ms_median": median, "ms_min": least, "ms_max": most, "steps": sorted.len() * together,
            "first_step_ms": times.first, "gflops": gflops, "bytes": times.bytes,
        });
        println!("{line}");
    } else {
        let bytes = times.bytes.map_or(String::new(), |bytes| format!("  {:.1} MiB", bytes as f64 / 1_048_576.0));
        println!("{shape_text:28} {median:9.3} ms a step ({least:.3} to {most:.3})  {gflops:8.2} GFLOP/s{bytes}");
    }
}

/// The version of Burn that this was built with.
fn burn_version() -> &'static str {
    let found = include_str!("../Cargo.lock").split_once("name = \"burn\"\nversion = \"");
    found.and_then(|(_, rest)| rest.split_once('"')).map_or("", |(version, _)| version)
}

fn run() -> Result<(), Error> {
    let Some(args) = Args::parse()? else {
        print!("{USAGE}");
        return Ok(());
    };
    let engine = Engine::open(args.device.as_deref())?;
    eprintln!("Burn {} ({}) on {}", burn_version(), engine.backend, engine.adapter);
    let together = args.together.unwrap_or(if engine.kind == "gpu" { 10 } else { 1 });
    for shape in args.shapes {
        let times = measure(shape, &engine.device, args.regions, together)?;
        report(&engine, shape, &times, together, args.json);
        // What the allocator keeps for reuse would count in the next shape's memory.
        engine.device.memory_cleanup();
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
