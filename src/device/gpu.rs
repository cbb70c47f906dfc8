//! A WebGPU adapter as a device: kernels, buffers, and a recorder that turns operations into few submissions.
//!
//! Operations only append dispatches to an open compute pass. Pipelines, bind groups and constant parameters are made
//! when first used and found again afterwards, so that from the second training step on nothing is created.

mod adapter;
#[cfg(any(target_arch = "wasm32", test))]
pub(crate) mod bare;
mod half;
mod kernel;
mod pace;
mod profile;
mod read_back;
mod slots;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use super::{Device, Need, Tuned, Tuning};
use crate::config::Precision;
use crate::error::{Bytes, Error, Result};
pub use adapter::{AdapterReport, adapters};
pub use half::Half;
pub use kernel::{Access, Kernel, Params, Twenty, grid};
use kernel::{MAX_GROUPS, compile};
pub(crate) use kernel::{kernel, params};
use pace::Pace;
use profile::Profiler;
pub use profile::{Cost, KernelTime};
use slots::{PAGE, SLOT, Slots};

/// Whether kernels can be timed: a page, which does not, has no code for it to load.
const TIMES: bool = !cfg!(target_arch = "wasm32");

/// Elements between two borders where a binding may begin, on every adapter.
pub(crate) const BORDER: usize = 64;

/// Numbers in the memory of a [`Gpu`].
pub struct GpuBuffer {
    id: u64,
    buffer: wgpu::Buffer,
    bytes: Range<u64>, // of `buffer`
    all: Option<Rc<GpuBuffer>>,
    dropped: Rc<RefCell<Vec<u64>>>,
}

impl GpuBuffer {
    /// Its elements.
    pub(crate) fn len(&self) -> usize {
        (self.bytes.end - self.bytes.start) as usize / 4
    }

    /// All the buffers that were made together with this one as one, if they lie together, [`apart`](Self::apart) from each
    /// other.
    pub(crate) fn all(&self) -> Option<&GpuBuffer> {
        self.all.as_deref()
    }

    /// Elements before it in [`all`](Self::all).
    pub(crate) fn place(&self) -> usize {
        self.bytes.start as usize / 4
    }

    /// [`all`](Self::all), or this one if it lies alone.
    pub(crate) fn whole(&self) -> &GpuBuffer {
        self.all().unwrap_or(self)
    }

    /// Elements from this one to the next that was made together with it; 0 if it lies alone.
    pub(crate) fn apart(&self) -> usize {
        if self.all.is_some() { self.len().next_multiple_of(BORDER) } else { 0 }
    }

    fn binding(&self) -> wgpu::BindingResource<'_> {
        let size = wgpu::BufferSize::new(self.bytes.end - self.bytes.start);
        wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &self.buffer, offset: self.bytes.start, size })
    }
}

impl Drop for GpuBuffer {
    fn drop(&mut self) {
        self.dropped.borrow_mut().push(self.id);
    }
}

/// Which adapter to take, and how to run on it.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Part of the adapter's name, in any case.
    pub adapter: Option<String>,
    /// Refuse software rasterisers.
    pub hardware_only: bool,
    /// Keep the driver's bounds checks and loop limits. They cost time; the kernels do not need them.
    pub checked: bool,
    /// Fresh buffers hold NaN, so that a test notices what was never written.
    pub poison: bool,
    /// Take the time of each kernel for [`Gpu::profile`]. Every dispatch is then a pass of its own.
    pub profile: bool,
    /// What products are made of; in a browser always 32-bit numbers.
    pub precision: Precision,
    /// Multiply 16-bit numbers each by itself, even where the adapter has matrices of them.
    pub no_matrices: bool,
    /// How to compute, on whichever adapter.
    pub tuning: Option<Tuning>,
    /// How to compute on certain adapters, the last entry first; on others as suits their kind.
    pub tuned: Vec<Tuned>,
}

/// A WebGPU adapter in use.
pub struct Gpu {
    name: String,
    device: wgpu::Device,
    queue: wgpu::Queue,
    kind: wgpu::DeviceType,
    tuned: Tuned,
    half: Option<Half>,
    lanes: usize,
    limits: wgpu::Limits,
    options: GpuOptions,
    faults: Arc<Mutex<Option<Fault>>>,
    allocated: Cell<u64>,
    next_id: Cell<u64>,
    dropped: Rc<RefCell<Vec<u64>>>,
    recorder: RefCell<Recorder>,
}

/// What went wrong since somebody last asked.
enum Fault {
    Refused(String),
    Lost(String),
}

#[derive(Default)]
struct Recorder {
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
    pipelines: HashMap<(&'static str, &'static str), (wgpu::ComputePipeline, wgpu::BindGroupLayout)>,
    groups: HashMap<GroupKey, wgpu::BindGroup>,
    fixed: Slots,
    varying: Slots,
    staging: Option<wgpu::Buffer>,
    pace: Pace,
    profiler: Option<Profiler>,
    counts: GpuCounts,
}

/// What a device was asked to do since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GpuCounts {
    /// Kernels run.
    pub dispatches: u64,
    /// Command buffers handed to the driver.
    pub submissions: u64,
    /// Pipelines, bind groups, constant parameters and buffers made.
    pub created: u64,
    /// Bytes written from the host, parameters of kernels among them.
    pub uploaded: u64,
    /// Bytes read back.
    pub read: u64,
}

#[derive(PartialEq, Eq, Hash)]
struct GroupKey {
    kernel: (&'static str, &'static str), // file, function
    varying: bool,
    page: usize,
    buffers: Vec<u64>,
}

impl Gpu {
    /// Opens the best adapter that `options` allow.
    ///
    /// # Errors
    /// No adapter fits, or the adapter has less than WebGPU's default limits.
    pub async fn open(options: GpuOptions) -> Result<Self> {
        let found = adapter::found().await;
        let names: Vec<_> = found.iter().map(|adapter| format!("`{}`", adapter.get_info().name)).collect();
        let wanted = options.adapter.as_deref().map(str::to_ascii_lowercase);
        let adapter = found.into_iter().find(|adapter| {
            let info = adapter.get_info();
            let software = info.device_type == wgpu::DeviceType::Cpu;
            wanted.as_ref().is_none_or(|name| info.name.to_ascii_lowercase().contains(name))
                && !(software && options.hardware_only)
        });
        let Some(adapter) = adapter else {
            let problem = match (&options.adapter, names.is_empty()) {
                (_, true) => "no GPU adapter was found".to_owned(),
                (Some(name), _) => format!("no adapter's name contains `{name}`; there is {}", names.join(", ")),
                (None, _) => format!("no hardware GPU was found, only {}", names.join(", ")),
            };
            return Err(Error::device(problem, "use `--device cpu`, or install a Vulkan, Metal or DirectX 12 driver"));
        };
        Self::from_adapter(&adapter, options).await
    }

    async fn from_adapter(adapter: &wgpu::Adapter, options: GpuOptions) -> Result<Self> {
        let info = adapter.get_info();
        let offered = adapter.limits();
        let half = Half::wanted(adapter, &options)?;
        let least = wgpu::Limits::default();
        let memory = offered.max_compute_workgroup_storage_size.max(least.max_compute_workgroup_storage_size);
        let limits = wgpu::Limits {
            max_compute_workgroup_storage_size: memory,
            max_buffer_size: offered.max_buffer_size,
            max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size,
            ..least
        };
        let lanes = adapter::lanes(adapter);
        let only = |wanted, feature| if wanted { feature } else { wgpu::Features::empty() };
        let timestamps = only(options.profile, wgpu::Features::TIMESTAMP_QUERY);
        let features = only(lanes > 1, wgpu::Features::SUBGROUP) | half.map_or(wgpu::Features::empty(), Half::features);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("bptt"),
            required_limits: limits.clone(),
            required_features: adapter.features() & timestamps | features,
            experimental_features: half.map_or(wgpu::ExperimentalFeatures::disabled(), Half::experimental),
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|refusal| {
            Error::device(
                format!("`{}` cannot be used: {refusal}", info.name),
                "use another --adapter, or `--device cpu`",
            )
        })?;
        let faults = watch(&device);
        let key = adapter::key(&info);
        let by_kind = Tuning::suited_to(info.device_type == wgpu::DeviceType::Cpu);
        // What was measured before there was a limit gets that, too.
        let limited = |tuning: Tuning| match tuning.operations {
            0 => Tuning { operations: by_kind.operations, ..tuning },
            _ => tuning,
        };
        let measured = options.tuned.iter().rfind(|tuned| tuned.adapter == key).map(|tuned| limited(tuned.tuning));
        let profiler = (TIMES && options.profile).then(|| Profiler::new(&device));
        // Browsers mostly keep it to themselves.
        let name = if info.name.is_empty() { "WebGPU".to_owned() } else { info.name };
        Ok(Self {
            name,
            device,
            queue,
            kind: info.device_type,
            half,
            lanes,
            limits,
            tuned: Tuned { adapter: key, tuning: options.tuning.or(measured).unwrap_or(by_kind) },
            options,
            faults,
            allocated: Cell::new(0),
            next_id: Cell::new(0),
            dropped: Rc::default(),
            recorder: RefCell::new(Recorder { profiler, ..Recorder::default() }),
        })
    }

    /// How it computes.
    pub fn tuning(&self) -> &Tuning {
        &self.tuned.tuning
    }

    /// How it multiplies 16-bit numbers, if products are made of those.
    pub fn half(&self) -> Option<Half> {
        // A browser's page has no kernels of them: so much less to load.
        if cfg!(target_arch = "wasm32") { None } else { self.half }
    }

    /// Invocations of a subgroup, where kernels exchange numbers within it; else 1.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// Bytes that a workgroup's memory may have.
    pub fn memory(&self) -> usize {
        self.limits.max_compute_workgroup_storage_size as usize
    }

    /// Whether it is a processor that runs the kernels.
    pub fn is_software(&self) -> bool {
        self.kind == wgpu::DeviceType::Cpu
    }

    /// Bytes of the largest buffer that a kernel reads or writes.
    pub fn largest_binding(&self) -> u64 {
        self.limits.max_storage_buffer_binding_size
    }

    /// What was done so far.
    pub fn counts(&self) -> GpuCounts {
        let recorder = self.recorder.borrow();
        let made = recorder.pipelines.len() + recorder.groups.len();
        let uploaded = recorder.counts.uploaded + recorder.fixed.uploaded + recorder.varying.uploaded;
        GpuCounts { created: made as u64 + recorder.fixed.made + self.next_id.get(), uploaded, ..recorder.counts }
    }

    /// Says what the next dispatch costs, for [`profile`](Gpu::profile).
    pub fn cost(&self, cost: Cost) {
        if TIMES && let Some(profiler) = &mut self.recorder.borrow_mut().profiler {
            profiler.next = Some(cost);
        }
    }

    /// Appends one dispatch: `kernel` with `params` and its storage `buffers`, on `groups` workgroups.
    pub fn run<P: Params>(&self, kernel: &'static Kernel, params: &P, buffers: &[&GpuBuffer], groups: [u32; 3]) {
        assert!(std::ptr::eq(kernel.params, P::FIELDS) || kernel.params == P::FIELDS, "{}: parameters", kernel.name);
        self.dispatch(kernel, bytemuck::bytes_of(params), buffers, groups);
    }

    /// An invocation for each of `count` elements, 64 of them a workgroup, each of so many operations of [`Tuning::operations`]: a
    /// dispatch, or several, which tell the invocations of those before by the last of `params`, `before`.
    pub fn run_each<P: Params>(
        &self,
        kernel: &'static Kernel,
        params: &P,
        buffers: &[&GpuBuffer],
        count: usize,
        operations: u64,
    ) {
        assert!(P::FIELDS.last().is_none_or(|last| *last == ("before", "u32")), "{}: parameters", kernel.name);
        let (mut params, count) = (*params, count.max(1));
        let mut each = self.tuning().at_a_time(count, 64, operations);
        if each < count {
            each = each.min(64 * MAX_GROUPS); // A folded grid has workgroups beyond the last, which are the next dispatch's.
        }
        for begin in (0..count).step_by(each) {
            let before = bytemuck::bytes_of_mut(&mut params).last_chunk_mut().expect("`before`");
            *before = (begin as u32).to_ne_bytes();
            if begin > 0 {
                self.cost(Cost::default()); // The first has it all.
            }
            self.run(kernel, &params, buffers, grid(each.min(count - begin), 64));
        }
    }

    /// Appends one dispatch, compiled once for all kinds of parameters.
    fn dispatch(&self, kernel: &'static Kernel, params: &[u8], buffers: &[&GpuBuffer], groups: [u32; 3]) {
        assert_eq!(kernel.storage.len(), buffers.len(), "{}: storage buffers", kernel.name);
        assert!(groups.iter().all(|&n| n as usize <= MAX_GROUPS), "{}: {groups:?} workgroups", kernel.name);
        let recorder = &mut *self.recorder.borrow_mut();
        if recorder.pace.is_full() || (kernel.varying && recorder.varying.used == PAGE) {
            self.flush(recorder);
        }
        if !kernel.varying && recorder.fixed.is_full_for(params) {
            self.flush(recorder);
            recorder.fixed.forget();
        }
        for id in self.dropped.borrow_mut().drain(..) {
            recorder.groups.retain(|key, _| !key.buffers.contains(&id));
        }
        let slots = if kernel.varying { &mut recorder.varying } else { &mut recorder.fixed };
        let slot = slots.place(params, kernel.varying, &self.device, &self.queue);
        let page = slot / PAGE;
        let (pipeline, layout) = recorder.pipelines.entry((kernel.name, kernel.entry)).or_insert_with(|| {
            recorder.pace.compiled();
            compile(&self.device, kernel, self.options.checked)
        });
        let key = GroupKey {
            kernel: (kernel.name, kernel.entry),
            varying: kernel.varying,
            page,
            buffers: buffers.iter().map(|b| b.id).collect(),
        };
        let group = recorder.groups.entry(key).or_insert_with(|| {
            let uniform =
                wgpu::BufferBinding { buffer: &slots.pages[page], offset: 0, size: wgpu::BufferSize::new(SLOT) };
            let mut entries =
                vec![wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(uniform) }];
            entries.extend(
                buffers
                    .iter()
                    .zip(1..)
                    .map(|(storage, binding)| wgpu::BindGroupEntry { binding, resource: storage.binding() }),
            );
            self.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(kernel.name),
                layout,
                entries: &entries,
            })
        });
        let Recorder { encoder, pass, profiler, .. } = recorder;
        let profiler = profiler.as_mut().filter(|_| TIMES);
        let timestamps = profiler.and_then(|profiler| profiler.dispatch(kernel, &self.device));
        if self.options.profile {
            *pass = None;
        }
        let pass = pass.get_or_insert_with(|| {
            let encoder = encoder.get_or_insert_with(|| self.device.create_command_encoder(&Default::default()));
            let timestamp_writes = timestamps.map(|(query_set, [begin, end])| wgpu::ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: Some(begin),
                end_of_pass_write_index: Some(end),
            });
            let descriptor = wgpu::ComputePassDescriptor { label: Some(kernel.name), timestamp_writes };
            encoder.begin_compute_pass(&descriptor).forget_lifetime()
        });
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &*group, &[(slot % PAGE) as u32 * SLOT as u32]);
        pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
        recorder.pace.dispatch();
        recorder.counts.dispatches += 1;
    }

    /// Submits what was recorded and waits until no more than one submission is on its way, so that neither memory nor
    /// the time to stop grows.
    fn flush(&self, recorder: &mut Recorder) {
        recorder.pass = None;
        let Some(encoder) = recorder.encoder.take() else { return };
        recorder.varying.upload(&self.queue);
        recorder.counts.submissions += 1;
        recorder.pace.submit(&self.device, &self.queue, encoder.finish());
    }

    fn fault(&self) -> Result<()> {
        const REMEDY: &str =
            "go on from the last checkpoint with `--resume`, with a smaller model or batch, or with `--device cpu`";
        let mut faults = self.faults.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &*faults {
            // It stays lost, however often one asks.
            Some(Fault::Lost(problem)) => {
                let problem = format!("`{}` was lost: {problem}", self.name);
                Err(Error::Lost { problem, remedy: REMEDY.into() })
            }
            Some(Fault::Refused(problem)) => {
                let problem = format!("`{}`: {problem}", self.name);
                *faults = None;
                Err(Error::device(problem, REMEDY))
            }
            None => Ok(()),
        }
    }
}

/// Where the errors of `device` are kept that nobody waits for: the first refusal, unless the device is lost.
fn watch(device: &wgpu::Device) -> Arc<Mutex<Option<Fault>>> {
    let faults = Arc::new(Mutex::new(None));
    let note = |faults: &Arc<Mutex<Option<Fault>>>| {
        let faults = faults.clone();
        move |fault| {
            let mut kept = faults.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if kept.is_none() || matches!((&*kept, &fault), (Some(Fault::Refused(_)), Fault::Lost(_))) {
                *kept = Some(fault);
            }
        }
    };
    let refused = note(&faults);
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| refused(Fault::Refused(error.to_string()))));
    let lost = note(&faults);
    device.set_device_lost_callback(move |reason, message| {
        // Dropping the last handle natively also "loses" the device, and nobody waits for it then; in a browser it says that a
        // page has destroyed its device.
        if reason != wgpu::DeviceLostReason::Destroyed || cfg!(target_arch = "wasm32") {
            lost(Fault::Lost(message));
        }
    });
    faults
}

impl Device for Gpu {
    type Element = f32;
    type Buffer = GpuBuffer;
    type Indices = GpuBuffer;

    fn kind(&self) -> &'static str {
        "gpu"
    }
    fn adapter(&self) -> &str {
        &self.name
    }
    fn precision(&self) -> Precision {
        if self.half().is_some() { Precision::Mixed } else { Precision::F32 }
    }
    fn allocated(&self) -> u64 {
        self.allocated.get()
    }

    fn tuned(&self) -> Option<Tuned> {
        Some(self.tuned.clone())
    }
    fn compute_as(&mut self, tuned: &Tuned) {
        if tuned.adapter == self.tuned.adapter {
            self.tuned = tuned.clone();
        }
    }
    fn check(&self, need: &[Need]) -> Result<()> {
        let limits = &self.limits;
        let names = ["max_storage_buffer_binding_size", "max_buffer_size"];
        let values = [limits.max_storage_buffer_binding_size, limits.max_buffer_size];
        for part in need {
            let bytes = (part.len as u64).saturating_mul(4);
            if let Some(index) = values.iter().position(|&limit| bytes > limit) {
                return Err(Error::Memory {
                    need: part.name.into(),
                    bytes: Bytes(bytes),
                    limit: format!("{} of `{}`", names[index], self.name),
                    allowed: Bytes(values[index]),
                    remedy: format!("lower {}", part.lower),
                });
            }
        }
        // Memory of its own: WebGPU does not tell how much there is. Shared memory is the machine's.
        if matches!(self.kind, wgpu::DeviceType::Cpu | wgpu::DeviceType::IntegratedGpu) {
            super::Cpu::<f32>::new().check(need)
        } else {
            Ok(())
        }
    }

    fn buffer(&self, name: &'static str, len: usize) -> GpuBuffer {
        self.allocated.set(self.allocated.get() + len as u64 * 4);
        self.room(name, len)
    }
    fn buffers(&self, name: &'static str, len: usize, count: usize) -> Vec<GpuBuffer> {
        let apart = len.next_multiple_of(BORDER);
        let (limits, bytes) = (&self.limits, (apart * count) as u64 * 4);
        if len == 0 || count < 2 || bytes > limits.max_storage_buffer_binding_size.min(limits.max_buffer_size) {
            return (0..count).map(|_| self.buffer(name, len)).collect();
        }
        self.allocated.set(self.allocated.get() + (len * count) as u64 * 4);
        let all = Rc::new(self.room(name, apart * count));
        let bytes = |index: usize| [apart * index, apart * index + len].map(|element| element as u64 * 4);
        (0..count).map(bytes).map(|[from, to]| self.part(&all.buffer, from..to, Some(all.clone()))).collect()
    }
    fn indices(&self, name: &'static str, len: usize) -> GpuBuffer {
        self.buffer(name, len)
    }

    fn write(&self, buffer: &mut GpuBuffer, values: &[f32]) {
        self.write_bytes(buffer, bytemuck::cast_slice(values));
    }
    fn write_indices(&self, indices: &mut GpuBuffer, values: &[u32]) {
        self.write_bytes(indices, bytemuck::cast_slice(values));
    }

    fn zero(&self, buffer: &mut GpuBuffer, offset: usize, len: usize) {
        if len > 0 {
            let recorder = &mut *self.recorder.borrow_mut();
            recorder.pass = None;
            let encoder =
                recorder.encoder.get_or_insert_with(|| self.device.create_command_encoder(&Default::default()));
            encoder.clear_buffer(&buffer.buffer, buffer.bytes.start + offset as u64 * 4, Some(len as u64 * 4));
        }
    }

    fn submit(&self) -> Result<()> {
        let recorder = &mut *self.recorder.borrow_mut();
        if recorder.pace.step() {
            self.flush(recorder);
        }
        self.fault()
    }

    fn read(&self, buffer: &GpuBuffer, range: Range<usize>) -> impl Future<Output = Result<Vec<f32>>> {
        let size = range.len() as u64 * 4;
        let staging = self.copy_out(&buffer.buffer, buffer.bytes.start + range.start as u64 * 4, size);
        self.read_back(staging, size)
    }
}

impl Gpu {
    /// A buffer that is not counted yet.
    fn room(&self, name: &'static str, len: usize) -> GpuBuffer {
        let size = len.max(1) as u64 * 4;
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(name),
            size,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        if self.options.poison {
            self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&vec![f32::NAN; len.max(1)]));
        }
        self.part(&buffer, 0..size, None)
    }

    fn part(&self, buffer: &wgpu::Buffer, bytes: Range<u64>, all: Option<Rc<GpuBuffer>>) -> GpuBuffer {
        let id = self.next_id.replace(self.next_id.get() + 1);
        GpuBuffer { id, buffer: buffer.clone(), bytes, all, dropped: self.dropped.clone() }
    }

    fn write_bytes(&self, buffer: &mut GpuBuffer, bytes: &[u8]) {
        // A write overtakes every command that is not submitted yet.
        let recorder = &mut *self.recorder.borrow_mut();
        self.flush(recorder);
        self.queue.write_buffer(&buffer.buffer, buffer.bytes.start, bytes);
        recorder.counts.uploaded += bytes.len() as u64;
    }
}
