//! The DMA pool, the kernel's own source files, on loom's atomics: every interleaving of a few
//! threads, with every value a load may return under C11.

extern crate alloc;

mod dma;
mod received;
mod slots;
