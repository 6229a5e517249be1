//! The part of QEMU's plugin interface that is used (qemu-plugin.h of QEMU 10.0, "QEMU TCG Plugins" in its manual),
//! and of the GLib arrays that it passes (glib/garray.h).

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

/// `QEMU_PLUGIN_CB_R_REGS`: a callback reads registers.
pub(crate) const READS_REGISTERS: c_int = 1;
/// `QEMU_PLUGIN_INLINE_ADD_U64`.
const ADD: c_int = 0;
/// There is one processor.
const PROCESSOR: c_uint = 0;

/// `struct qemu_info_t`.
#[repr(C)]
pub struct Info {
    pub(crate) target_name: *const c_char,
    _least_version: c_int,
    _version: c_int,
    pub(crate) system_emulation: bool,
    pub(crate) processors: c_int,
    _most_processors: c_int,
}

/// `struct qemu_plugin_tb`.
#[repr(C)]
pub(crate) struct Block {
    _opaque: [u8; 0],
}

/// `struct qemu_plugin_insn`.
#[repr(C)]
pub(crate) struct Instruction {
    _opaque: [u8; 0],
}

/// `qemu_plugin_u64`: a number for each processor, kept by QEMU.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawEntry {
    scoreboard: *mut c_void,
    offset: usize,
}

/// `qemu_plugin_reg_descriptor`.
#[repr(C)]
struct Descriptor {
    handle: *mut c_void,
    name: *const c_char,
    _feature: *const c_char,
}

/// `GArray` and `GByteArray`.
#[repr(C)]
struct Array {
    data: *mut u8,
    length: c_uint,
}

unsafe extern "C" {
    pub(crate) fn qemu_plugin_register_vcpu_init_cb(id: u64, callback: unsafe extern "C" fn(u64, c_uint));
    pub(crate) fn qemu_plugin_register_vcpu_tb_trans_cb(
        id: u64,
        callback: unsafe extern "C" fn(u64, *mut Block),
    );
    pub(crate) fn qemu_plugin_register_atexit_cb(
        id: u64,
        callback: unsafe extern "C" fn(u64, *mut c_void),
        data: *mut c_void,
    );
    pub(crate) fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    pub(crate) fn qemu_plugin_tb_vaddr(block: *const Block) -> u64;
    pub(crate) fn qemu_plugin_tb_get_insn(block: *const Block, at: usize) -> *mut Instruction;
    pub(crate) fn qemu_plugin_insn_data(
        instruction: *const Instruction,
        into: *mut c_void,
        length: usize,
    ) -> usize;
    pub(crate) fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        callback: unsafe extern "C" fn(c_uint, *mut c_void),
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
        block: *mut Block,
        operation: c_int,
        entry: RawEntry,
        operand: u64,
    );
    fn qemu_plugin_scoreboard_new(element_size: usize) -> *mut c_void;
    fn qemu_plugin_u64_get(entry: RawEntry, processor: c_uint) -> u64;
    fn qemu_plugin_get_registers() -> *mut Array;
    fn qemu_plugin_read_register(handle: *mut c_void, into: *mut Array) -> c_int;
    fn qemu_plugin_read_memory_vaddr(address: u64, into: *mut Array, length: usize) -> bool;
    fn g_byte_array_new() -> *mut Array;
    fn g_byte_array_set_size(array: *mut Array, length: c_uint) -> *mut Array;
    fn g_array_free(array: *mut Array, free_segment: c_int) -> *mut c_char;
}

/// A number that QEMU keeps and counts up in the translated code itself.
pub(crate) struct Entry(RawEntry);

// SAFETY: the scoreboard lives as long as the process, and QEMU's functions on it may be called by any thread.
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

impl Entry {
    /// Two of them.
    pub(crate) fn pair() -> [Self; 2] {
        let size = size_of::<u64>();
        // SAFETY: the scoreboard holds two numbers, and both offsets lie in it.
        let scoreboard = unsafe { qemu_plugin_scoreboard_new(2 * size) };
        [0, size].map(|offset| Self(RawEntry { scoreboard, offset }))
    }

    /// Counts up by `count` whenever `block` runs.
    pub(crate) fn add_each_time(&self, block: *mut Block, count: u64) {
        // SAFETY: called while QEMU translates `block`.
        unsafe { qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(block, ADD, self.0, count) }
    }

    /// The number.
    pub(crate) fn get(&self) -> u64 {
        // SAFETY: the scoreboard is never freed.
        unsafe { qemu_plugin_u64_get(self.0, PROCESSOR) }
    }
}

/// A register's handle.
#[derive(Clone, Copy)]
pub(crate) struct Register(*mut c_void);

// SAFETY: a handle is a number that QEMU gave, and is only ever given back.
unsafe impl Send for Register {}

/// The processor's registers. To be called when it was made.
pub(crate) fn registers() -> Vec<(String, Register)> {
    // SAFETY: the array holds descriptors, whose names live as long as the process; it is freed once.
    unsafe {
        let array = qemu_plugin_get_registers();
        let descriptors =
            std::slice::from_raw_parts((*array).data.cast::<Descriptor>(), (*array).length as usize);
        let registers = descriptors.iter().map(|descriptor| {
            (CStr::from_ptr(descriptor.name).to_string_lossy().into_owned(), Register(descriptor.handle))
        });
        let registers = registers.collect();
        g_array_free(array, 1);
        registers
    }
}

/// Where QEMU puts what it reads.
pub(crate) struct Bytes(*mut Array);

// SAFETY: the array belongs to this value alone.
unsafe impl Send for Bytes {}

impl Bytes {
    pub(crate) fn new() -> Self {
        // SAFETY: no precondition.
        Self(unsafe { g_byte_array_new() })
    }

    /// What a register holds, in the guest's byte order; nothing when it cannot be read.
    pub(crate) fn of_register(&mut self, register: Register) -> &[u8] {
        // SAFETY: called on the processor's thread in a callback that asked to read registers.
        unsafe {
            g_byte_array_set_size(self.0, 0);
            qemu_plugin_read_register(register.0, self.0);
        }
        self.read()
    }

    /// What stands in the guest's memory from the virtual address `address` on; nothing when it cannot be read.
    pub(crate) fn of_memory(&mut self, address: u64, length: usize) -> &[u8] {
        // SAFETY: called on the processor's thread.
        let done = unsafe {
            g_byte_array_set_size(self.0, 0);
            qemu_plugin_read_memory_vaddr(address, self.0, length)
        };
        if done { self.read() } else { &[] }
    }

    fn read(&self) -> &[u8] {
        // SAFETY: the array is valid, and nobody changes it while it is borrowed.
        unsafe {
            let array = &*self.0;
            if array.data.is_null() {
                return &[];
            }
            std::slice::from_raw_parts(array.data, array.length as usize)
        }
    }
}
