//! Numbers on their way back to the host.

use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use super::{Gpu, KernelTime};
use crate::error::{Error, Result};

impl Gpu {
    /// Submits a copy of `size` bytes into memory that can be mapped; the last such buffer is used again.
    pub(super) fn copy_out(&self, buffer: &wgpu::Buffer, from: u64, size: u64) -> wgpu::Buffer {
        assert!(size > 0, "nothing to read");
        let recorder = &mut *self.recorder.borrow_mut();
        let staging = recorder.staging.take().filter(|staging| staging.size() >= size).unwrap_or_else(|| {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("read-back"),
                size,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        });
        recorder.pass = None;
        let encoder = recorder.encoder.get_or_insert_with(|| self.device.create_command_encoder(&Default::default()));
        encoder.copy_buffer_to_buffer(buffer, from, &staging, 0, size);
        recorder.counts.read += size;
        // What is only ever read, such as forecasts, has no other steps.
        _ = recorder.pace.step();
        self.flush(recorder);
        staging
    }

    /// Waits for what [`copy_out`](Gpu::copy_out) gave, and keeps the buffer for the next.
    pub(super) async fn read_back<T: bytemuck::AnyBitPattern>(
        &self,
        staging: wgpu::Buffer,
        size: u64,
    ) -> Result<Vec<T>> {
        let mapped = map(&staging, &self.device).await;
        self.fault()?;
        mapped
            .map_err(|error| Error::device(format!("`{}`: {error}", self.name), "try again, or use `--device cpu`"))?;
        let refused = |error| Error::device(format!("`{}`: {error}", self.name), "try again, or use `--device cpu`");
        let values = bytemuck::cast_slice(&staging.get_mapped_range(..size).map_err(refused)?).to_vec();
        staging.unmap();
        self.recorder.borrow_mut().staging = Some(staging);
        Ok(values)
    }

    /// What each kernel did since the last call, the longest first; nothing if the device was not opened for it.
    ///
    /// # Errors
    /// Those of a read.
    pub async fn profile(&self) -> Result<Vec<KernelTime>> {
        let resolved = {
            let recorder = &mut *self.recorder.borrow_mut();
            let Some(profiler) = &recorder.profiler else { return Ok(Vec::new()) };
            recorder.pass = None;
            let used: Vec<_> = profiler.used().collect();
            for (queries, count) in &used {
                let encoder =
                    recorder.encoder.get_or_insert_with(|| self.device.create_command_encoder(&Default::default()));
                encoder.resolve_query_set(&queries.set, 0..*count as u32, &queries.resolved, 0);
            }
            used.into_iter().map(|(queries, count)| (queries.resolved.clone(), count)).collect::<Vec<_>>()
        };
        let mut ticks: Vec<u64> = Vec::new();
        for (buffer, count) in resolved {
            let size = 8 * count as u64;
            let staging = self.copy_out(&buffer, 0, size);
            ticks.extend(self.read_back::<u64>(staging, size).await?);
        }
        let period = self.queue.get_timestamp_period();
        let recorder = &mut *self.recorder.borrow_mut();
        Ok(recorder.profiler.as_mut().map_or(Vec::new(), |profiler| profiler.report(&ticks, period)))
    }
}

/// Waits until `staging` can be read. A browser calls back by itself; natively somebody has to poll.
async fn map(staging: &wgpu::Buffer, device: &wgpu::Device) -> Result<(), wgpu::BufferAsyncError> {
    type Answer = (Option<Result<(), wgpu::BufferAsyncError>>, Option<Waker>);
    let answer = Arc::new(Mutex::new(Answer::default()));
    let sender = answer.clone();
    staging.map_async(wgpu::MapMode::Read, .., move |result| {
        let mut answer = sender.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        answer.0 = Some(result);
        if let Some(waker) = answer.1.take() {
            waker.wake();
        }
    });
    _ = device.poll(wgpu::PollType::wait_indefinitely());
    std::future::poll_fn(move |context| {
        let mut answer = answer.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match answer.0.take() {
            Some(result) => Poll::Ready(result),
            None => {
                answer.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}
