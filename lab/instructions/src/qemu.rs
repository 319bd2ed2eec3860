//! QEMU's interface for plugins (`include/plugins/qemu-plugin.h`), version 7, as QEMU 11.1 has it.

use std::{
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    os::unix::net::UnixStream,
    ptr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use crate::{counter, serve};

/// Opaque, QEMU's.
enum Block {}
/// As well.
enum Instruction {}

/// The version of the interface. QEMU refuses a plugin whose version it does not know.
// SAFETY: no other symbol has this name; QEMU looks for it.
#[unsafe(no_mangle)]
static qemu_plugin_version: c_int = 7;

/// QEMU_PLUGIN_CB_NO_REGS: the callback looks at no registers.
const NO_REGISTERS: c_int = 0;

// SAFETY: as in the header.
unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(
        id: u64,
        callback: unsafe extern "C" fn(*mut Block, *mut c_void),
        data: *mut c_void,
    );
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    fn qemu_plugin_insn_vaddr(instruction: *const Instruction) -> u64;
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        callback: unsafe extern "C" fn(c_uint, *mut c_void),
        flags: c_int,
        data: *mut c_void,
    );
}

/// What QEMU calls first. Anything but 0 ends QEMU.
///
/// # Safety
/// `arguments` are `count` strings of C.
// SAFETY: no other symbol has this name; QEMU looks for it.
#[unsafe(no_mangle)]
unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _: *const c_void,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    let arguments = match usize::try_from(count) {
        // SAFETY: there are so many, by our contract.
        Ok(count) if count > 0 => unsafe { std::slice::from_raw_parts(arguments, count) },
        _ => &[],
    };
    // SAFETY: each is a string of C, by our contract.
    let mut strings = arguments.iter().map(|&argument| unsafe { CStr::from_ptr(argument) });
    let socket = strings.find_map(|it| it.to_str().ok()?.strip_prefix("counts="));
    let Some(socket) = socket.and_then(|path| UnixStream::connect(path).ok()) else {
        eprintln!("instructions: counts= names no socket that is listened on");
        return 1;
    };
    thread::spawn(move || serve(socket));
    // SAFETY: the id is the one QEMU gave us, and the callback one of this type.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated, ptr::null_mut()) };
    0
}

/// A block was translated: each of its instructions is to count.
///
/// # Safety
/// `block` is one of QEMU's, for the time of the call.
unsafe extern "C" fn translated(block: *mut Block, _: *mut c_void) {
    // SAFETY: by our contract.
    let len = unsafe { qemu_plugin_tb_n_insns(block) };
    for index in 0..len {
        // SAFETY: below the number of instructions.
        let instruction = unsafe { qemu_plugin_tb_get_insn(block, index) };
        // SAFETY: it is one of the block's.
        let address = unsafe { qemu_plugin_insn_vaddr(instruction) };
        let data = ptr::from_ref(counter(address)).cast_mut().cast();
        // SAFETY: the counter lives for ever, and `executed` takes it as what it is.
        unsafe {
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, executed, NO_REGISTERS, data);
        }
    }
}

/// An instruction is about to be executed.
///
/// # Safety
/// `data` is a counter.
unsafe extern "C" fn executed(_: c_uint, data: *mut c_void) {
    // SAFETY: by our contract, and counters are never freed.
    let counter = unsafe { &*data.cast::<AtomicU64>() };
    // One thread executes all processors (`thread=single`): no locked instruction is needed.
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}
