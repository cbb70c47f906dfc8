//! `bptt devices`: what `--adapter` can name, and what each offers.

use std::process::ExitCode;

use bptt::device::{Cpu, Device, adapters};
use bptt::error::{Bytes, Result};
use pollster::block_on;
use serde_json::json;

use super::Global;

pub fn run(global: &Global) -> Result<ExitCode> {
    let mut objects = Vec::new();
    for adapter in block_on(adapters()) {
        out!("gpu  {} ({}, {})", adapter.name, adapter.kind, adapter.backend);
        let (buffer, binding) = (Bytes(adapter.max_buffer), Bytes(adapter.max_binding));
        out!("     {}; largest buffer {buffer}, largest binding {binding}", adapter.driver);
        objects.push(json!({
            "device": "gpu", "adapter": adapter.name, "kind": adapter.kind, "backend": adapter.backend,
            "driver": adapter.driver, "max_buffer_size": adapter.max_buffer,
            "max_storage_buffer_binding_size": adapter.max_binding,
        }));
    }
    let cpu = Cpu::<f32>::new();
    out!("cpu  {}", cpu.adapter());
    objects.push(json!({ "device": "cpu", "adapter": cpu.adapter() }));
    global.print_json(&json!({ "devices": objects }));
    Ok(ExitCode::SUCCESS)
}
