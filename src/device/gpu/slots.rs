//! Kernel parameters in uniform memory: constant ones are written once and found again, varying ones go with a submission.

use std::collections::HashMap;

/// Uniform offsets must be multiples of this on every adapter.
pub(super) const SLOT: u64 = 256;
/// Slots in one uniform buffer.
pub(super) const PAGE: usize = 1024;
/// Constant slots that are kept, 16 MiB of them: more than the time steps of any sequence that fits. Batches whose lengths
/// differ make new ones for ever.
const KEPT: usize = 64 * PAGE;

/// Parameter structs in uniform memory, one a slot.
#[derive(Default)]
pub(super) struct Slots {
    pub pages: Vec<wgpu::Buffer>,
    known: HashMap<Vec<u8>, usize>,
    pub used: usize,
    /// Slots that were ever filled.
    pub made: u64,
    /// Bytes sent.
    pub uploaded: u64,
    pending: Vec<u8>,
}

impl Slots {
    /// Whether there is no room for `bytes`, so that what was recorded must go before [`forget`](Self::forget).
    pub fn is_full_for(&self, bytes: &[u8]) -> bool {
        self.used == KEPT && !self.known.contains_key(bytes)
    }

    /// Frees all slots. Nothing that is not submitted may use one.
    pub fn forget(&mut self) {
        self.known.clear();
        self.used = 0;
    }

    /// The slot that holds `bytes`: a known one, or the next free one.
    pub fn place(&mut self, bytes: &[u8], varying: bool, device: &wgpu::Device, queue: &wgpu::Queue) -> usize {
        assert!(bytes.len() as u64 <= SLOT, "{} bytes of parameters", bytes.len());
        if !varying && let Some(&slot) = self.known.get(bytes) {
            return slot;
        }
        let slot = self.used;
        self.used += 1;
        self.made += 1;
        if slot / PAGE == self.pages.len() {
            self.pages.push(device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("parameters"),
                size: SLOT * PAGE as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            }));
        }
        if varying {
            self.pending.extend_from_slice(bytes);
            self.pending.resize(self.used * SLOT as usize, 0);
        } else {
            queue.write_buffer(&self.pages[slot / PAGE], (slot % PAGE) as u64 * SLOT, bytes);
            self.uploaded += bytes.len() as u64;
            self.known.insert(bytes.to_vec(), slot);
        }
        slot
    }

    /// Sends the slots of one submission ahead of it and frees them for the next.
    pub fn upload(&mut self, queue: &wgpu::Queue) {
        if !self.pending.is_empty() {
            queue.write_buffer(&self.pages[0], 0, &self.pending);
            self.uploaded += self.pending.len() as u64;
            self.pending.clear();
            self.used = 0;
        }
    }
}
