//! A Vulkan driver as a compiler. Nothing is submitted, so that the GPU need not be there.

use std::ffi::{CString, c_char};
use std::iter::once;

use ash::{Device, Entry, Instance, ext, khr, vk};
use bptt::device::{Half, Kernel};

use crate::Result;
use crate::spirv::spirv;

/// What a driver counts, in its own words and order.
pub type Counts = Vec<(String, i128)>;

/// A driver's device. Whatever is made of it stays until the process ends.
pub struct Driver {
    /// The adapter's name, the driver's, and what multiplies there.
    pub name: String,
    /// Invocations of a subgroup where they have one size, as for `bptt`; else 1.
    pub lanes: usize,
    /// Bytes that a workgroup's memory may have.
    pub memory: usize,
    /// How `bptt` multiplies 16-bit numbers there.
    pub half: Option<Half>,
    device: Device,
    executables: khr::pipeline_executable_properties::Device,
    _entry: Entry,
}

/// An adapter whose driver says what it compiles.
struct Adapter {
    physical: vk::PhysicalDevice,
    name: String,
    driver: String,
    lanes: usize,
    memory: usize,
    half: Option<Half>,
    /// Whether it can check the bounds of buffers, and do so to the byte: `wgpu` asks for both whatever the kernels say.
    checks: [bool; 2],
}

impl Driver {
    /// The first adapter whose name contains `part`.
    pub fn open(part: &str) -> Result<Self> {
        // SAFETY: this is the system's loader of Vulkan drivers, and nothing else in this process has to do with it.
        let entry = unsafe { Entry::load() }?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let info = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: `entry` is kept as long as what is made of it.
        let instance = unsafe { entry.create_instance(&info, None) }?;
        // SAFETY: the instance is never destroyed.
        let physical = unsafe { instance.enumerate_physical_devices() }?;
        let adapters = physical.into_iter().map(|physical| Adapter::of(&entry, &instance, physical));
        let adapters: Vec<_> = adapters.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        let Some(adapter) = adapters.iter().find(|adapter| adapter.name.to_lowercase().contains(part)) else {
            let names: Vec<_> = adapters.iter().map(|adapter| &*adapter.name).collect();
            let asked = "adapters with Vulkan 1.3 and VK_KHR_pipeline_executable_properties";
            return Err(format!("{asked}: {names:?}; none has `{part}` in its name").into());
        };
        let device = adapter.device(&instance)?;
        let executables = khr::pipeline_executable_properties::Device::new(&instance, &device);
        let half = adapter.half.map_or("32-bit numbers alone".to_owned(), |half| half.to_string());
        let name = format!("{}, {}: {half}", adapter.name, adapter.driver);
        let Adapter { lanes, memory, half, .. } = *adapter;
        Ok(Self { name, lanes, memory, half, device, executables, _entry: entry })
    }

    /// What becomes of a kernel, with the name of each.
    pub fn compiled(&self, kernel: &Kernel) -> Result<Vec<(String, Counts)>> {
        let pipeline = self.pipeline(kernel)?;
        let info = vk::PipelineInfoKHR::default().pipeline(pipeline);
        // SAFETY: the pipeline is of this device, on which the feature is enabled.
        let executables = unsafe { self.executables.get_pipeline_executable_properties(&info) }?;
        let counted = |(index, executable): (u32, &vk::PipelineExecutablePropertiesKHR)| {
            let info = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(index);
            // SAFETY: likewise; it has so many executables and was made to keep their statistics.
            let statistics = unsafe { self.executables.get_pipeline_executable_statistics(&info) }?;
            Ok((text(&executable.name), statistics.iter().filter_map(count).collect()))
        };
        (0..).zip(&executables).map(counted).collect()
    }

    /// The pipeline as `wgpu` makes it, with statistics.
    fn pipeline(&self, kernel: &Kernel) -> Result<vk::Pipeline> {
        let spirv = spirv(kernel)?;
        let binding = |place, kind| {
            let binding = vk::DescriptorSetLayoutBinding::default().binding(place).descriptor_type(kind);
            binding.descriptor_count(1).stage_flags(vk::ShaderStageFlags::COMPUTE)
        };
        let storage = (1..).zip(kernel.storage).map(|(place, _)| binding(place, vk::DescriptorType::STORAGE_BUFFER));
        let bindings: Vec<_> = once(binding(0, vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC)).chain(storage).collect();
        let set = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        let module = vk::ShaderModuleCreateInfo::default().code(&spirv);
        let entry = CString::new(kernel.entry)?;
        let mut flags = vk::PipelineShaderStageCreateFlags::empty();
        if self.lanes > 1 {
            flags |= vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE;
        }
        let stage = vk::PipelineShaderStageCreateInfo::default().flags(flags).stage(vk::ShaderStageFlags::COMPUTE);
        let info = vk::ComputePipelineCreateInfo::default().flags(vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR);
        let device = &self.device;
        // SAFETY: naga has validated the module, which has this entry point and these bindings, as `tests/shaders.rs` asserts,
        // and asks for nothing that the device has not.
        let pipelines = unsafe {
            let sets = [device.create_descriptor_set_layout(&set, None)?];
            let layout = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            let layout = device.create_pipeline_layout(&layout, None)?;
            let stage = stage.module(device.create_shader_module(&module, None)?).name(&entry);
            device.create_compute_pipelines(vk::PipelineCache::null(), &[info.layout(layout).stage(stage)], None)
        };
        let pipelines = pipelines.map_err(|(_, error)| error)?;
        Ok(*pipelines.first().ok_or("the driver made no pipeline")?)
    }
}

impl Adapter {
    /// None if the driver is too old or says nothing.
    fn of(entry: &Entry, instance: &Instance, physical: vk::PhysicalDevice) -> Result<Option<Self>> {
        let mut has_11 = vk::PhysicalDeviceVulkan11Properties::default();
        let mut has_12 = vk::PhysicalDeviceVulkan12Properties::default();
        let mut has_13 = vk::PhysicalDeviceVulkan13Properties::default();
        let chain = vk::PhysicalDeviceProperties2::default();
        let mut properties = chain.push_next(&mut has_11).push_next(&mut has_12).push_next(&mut has_13);
        // SAFETY: the instance is never destroyed, nor its adapters; a driver passes over what it does not know.
        unsafe { instance.get_physical_device_properties2(physical, &mut properties) };
        let properties = properties.properties;
        let mut can_11 = vk::PhysicalDeviceVulkan11Features::default();
        let mut can_12 = vk::PhysicalDeviceVulkan12Features::default();
        let mut robust = vk::PhysicalDeviceRobustness2FeaturesEXT::default();
        let mut matrices = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default();
        let mut statistics = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default();
        let chain = vk::PhysicalDeviceFeatures2::default().push_next(&mut can_11).push_next(&mut can_12);
        let mut features = chain.push_next(&mut robust).push_next(&mut matrices).push_next(&mut statistics);
        // SAFETY: as above.
        unsafe { instance.get_physical_device_features2(physical, &mut features) };
        let checks = [features.features.robust_buffer_access, robust.robust_buffer_access2].map(|can| can > 0);
        if properties.api_version < vk::API_VERSION_1_3 || statistics.pipeline_executable_info == 0 {
            return Ok(None);
        }
        let [least, most] = [has_13.min_subgroup_size, has_13.max_subgroup_size];
        let exchange = vk::SubgroupFeatureFlags::SHUFFLE | vk::SubgroupFeatureFlags::ARITHMETIC;
        let one_size = least == most && has_11.subgroup_supported_operations.contains(exchange);
        let lanes = if one_size { least.max(1) as usize } else { 1 };
        let memory = properties.limits.max_compute_shared_memory_size as usize;
        let storage = [can_11.storage_buffer16_bit_access, can_11.uniform_and_storage_buffer16_bit_access];
        let numbers = [can_12.shader_float16, storage[0], storage[1]];
        let matrices =
            [matrices.cooperative_matrix, can_12.vulkan_memory_model, can_12.vulkan_memory_model_device_scope];
        let has = |features: &[vk::Bool32]| features.iter().all(|feature| *feature > 0);
        let half = match (has(&numbers), has(&matrices)) {
            (false, _) => None,
            (_, false) => Some(Half::Numbers),
            _ => {
                let side = largest(&khr::cooperative_matrix::Instance::new(entry, instance), physical, lanes, memory)?;
                Some(side.map_or(Half::Numbers, |side| Half::Matrices { side, lanes }))
            }
        };
        let name = text(&properties.device_name);
        let driver = format!("{} {}", text(&has_12.driver_name), text(&has_12.driver_info));
        Ok(Some(Self { physical, name, driver, lanes, memory, half, checks }))
    }

    /// With what `wgpu` asks for on behalf of `bptt`, and statistics.
    fn device(&self, instance: &Instance) -> Result<Device> {
        let [numbers, matrices] = [self.half.is_some(), matches!(self.half, Some(Half::Matrices { .. }))];
        let core = vk::PhysicalDeviceFeatures::default().robust_buffer_access(self.checks[0]);
        let mut of_11 = vk::PhysicalDeviceVulkan11Features::default()
            .storage_buffer16_bit_access(numbers)
            .uniform_and_storage_buffer16_bit_access(numbers);
        let mut of_12 = vk::PhysicalDeviceVulkan12Features::default()
            .shader_float16(numbers)
            .vulkan_memory_model(matrices)
            .vulkan_memory_model_device_scope(matrices);
        let mut of_13 = vk::PhysicalDeviceVulkan13Features::default().subgroup_size_control(self.lanes > 1);
        let mut robust = vk::PhysicalDeviceRobustness2FeaturesEXT::default().robust_buffer_access2(true);
        let mut matrix = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
        let mut statistics = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default();
        statistics = statistics.pipeline_executable_info(true);
        let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
        let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues).enabled_features(&core);
        let mut info =
            info.push_next(&mut of_11).push_next(&mut of_12).push_next(&mut of_13).push_next(&mut statistics);
        let mut extensions = vec![khr::pipeline_executable_properties::NAME.as_ptr()];
        if self.checks[1] {
            info = info.push_next(&mut robust);
            extensions.push(ext::robustness2::NAME.as_ptr());
        }
        if matrices {
            info = info.push_next(&mut matrix);
            extensions.push(khr::cooperative_matrix::NAME.as_ptr());
        }
        // SAFETY: every adapter has a first family of queues, and this one all that is enabled.
        Ok(unsafe { instance.create_device(self.physical, &info.enabled_extension_names(&extensions), None) }?)
    }
}

/// The side of the largest matrices that `bptt` takes, by the rules of its `half.rs`.
fn largest(
    matrices: &khr::cooperative_matrix::Instance,
    physical: vk::PhysicalDevice,
    lanes: usize,
    memory: usize,
) -> Result<Option<usize>> {
    // SAFETY: as in `Adapter::of`; the adapter has the extension.
    let offered = unsafe { matrices.get_physical_device_cooperative_matrix_properties(physical) }?;
    let (half, single) = (vk::ComponentTypeKHR::FLOAT16, vk::ComponentTypeKHR::FLOAT32);
    let fits = |matrix: &vk::CooperativeMatrixPropertiesKHR| {
        let types = [matrix.a_type, matrix.b_type, matrix.c_type, matrix.result_type];
        let side = matrix.m_size as usize;
        let square = [8, 16].contains(&side) && [matrix.n_size, matrix.k_size] == [matrix.m_size; 2];
        let of_subgroup = matrix.scope == vk::ScopeKHR::SUBGROUP && types == [half, half, single, single];
        of_subgroup && square && 4 * side * side * 256 / lanes + 17_408 <= memory.min(32_768)
    };
    let sides = offered.iter().filter(|matrix| fits(matrix)).map(|matrix| matrix.m_size as usize);
    Ok(sides.max().filter(|_| lanes.is_power_of_two() && (8..=64).contains(&lanes)))
}

/// A statistic that is a count; a hash is none.
fn count(statistic: &vk::PipelineExecutableStatisticKHR) -> Option<(String, i128)> {
    let name = text(&statistic.name);
    let count = match statistic.format {
        // SAFETY: it says itself which it is, here and below.
        vk::PipelineExecutableStatisticFormatKHR::UINT64 => i128::from(unsafe { statistic.value.u64 }),
        // SAFETY: as above.
        vk::PipelineExecutableStatisticFormatKHR::INT64 => i128::from(unsafe { statistic.value.i64 }),
        _ => return None,
    };
    (!name.to_lowercase().contains("hash")).then_some((name, count))
}

/// A driver's text, which ends with a zero.
fn text(characters: &[c_char]) -> String {
    let bytes: Vec<_> = characters.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
