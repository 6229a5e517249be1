//! A QEMU plugin that counts a guest's instructions and says on which program each was spent.
//!
//! `-plugin libpilotlight_counter.so,report=FILE`; when QEMU ends, the [`Tally`] stands in FILE. It knows one kind
//! of guest: Linux on one 64-bit Arm processor, which keeps the running task in `SP_EL0` while it is in the kernel
//! (linux/arch/arm64/include/asm/current.h). Each write to that register is looked at, and the task's name is read
//! from the guest's memory. Everything else is [`pilotlight_emulator::count`]'s.

mod api;

use std::{
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    path::PathBuf,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use pilotlight_emulator::count::{Spent, Tally};

use crate::api::{Bytes, Entry, Info, Register};

/// `MSR SP_EL0, Xt`, where t is in the lowest five bits (Arm Architecture Reference Manual, C6.2 "MSR (register)").
const SET_TASK: u32 = 0xd518_4100;
const REGISTER: u32 = 0x1f;
/// `TASK_COMM_LEN` (linux/sched.h).
const NAME: usize = 16;
/// What the kernel's first task is called from its first instruction on (linux/init/init_task.c).
const FIRST_NAME: &[u8] = b"swapper";
/// More than any `struct task_struct` takes.
const LONGEST_TASK: usize = 16 * 1024;

/// The API that this was written against: the first with `qemu_plugin_read_memory_vaddr`.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "QEMU looks for it under this name")]
pub static qemu_plugin_version: c_int = 4;

/// Where the instructions are counted.
struct Counters {
    kernel: Entry,
    user: Entry,
}

static COUNTERS: OnceLock<Counters> = OnceLock::new();
static STATE: Mutex<Option<State>> = Mutex::new(None);

struct State {
    report: PathBuf,
    registers: Vec<(String, Register)>,
    bytes: Bytes,
    /// Where a task's name stands in its `struct task_struct`, once it was found.
    name_at: Option<u64>,
    tally: Tally,
}

/// Called by QEMU when it has loaded the plugin.
///
/// # Safety
/// QEMU's: `info` is valid for the call, `arguments` are `count` texts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    info: *const Info,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    // SAFETY: QEMU passes a valid structure of the layout that `Info` has.
    let info = unsafe { &*info };
    // SAFETY: `target_name` is a text that lives as long as `info`.
    let target = unsafe { CStr::from_ptr(info.target_name) };
    if target != c"aarch64" || !info.system_emulation || info.processors != 1 {
        eprintln!("the counter knows whole machines with one aarch64 processor only");
        return 1;
    }
    let arguments = (0..usize::try_from(count).unwrap_or(0))
        // SAFETY: QEMU passes `count` pointers to texts.
        .map(|at| unsafe { CStr::from_ptr(*arguments.add(at)) }.to_string_lossy().into_owned());
    let Some(report) =
        arguments.filter_map(|text| text.strip_prefix("report=").map(PathBuf::from)).next_back()
    else {
        eprintln!("the counter was not told where to report: report=FILE");
        return 1;
    };
    let [kernel, user] = Entry::pair();
    let _ = COUNTERS.set(Counters { kernel, user });
    *state() = Some(State {
        report,
        registers: Vec::new(),
        bytes: Bytes::new(),
        name_at: None,
        tally: Tally::default(),
    });
    // SAFETY: the callbacks have the signatures that QEMU calls them by, and live as long as the process.
    unsafe {
        api::qemu_plugin_register_vcpu_init_cb(id, processor_made);
        api::qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
        api::qemu_plugin_register_atexit_cb(id, ended, std::ptr::null_mut());
    }
    0
}

fn state() -> MutexGuard<'static, Option<State>> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spent() -> Spent {
    COUNTERS.get().map_or_else(Spent::default, |counters| Spent {
        kernel: counters.kernel.get(),
        user: counters.user.get(),
    })
}

unsafe extern "C" fn processor_made(_id: u64, _processor: c_uint) {
    if let Some(state) = state().as_mut() {
        state.registers = api::registers();
    }
}

/// Each block of instructions, once: has it counted whenever it runs, and tasks looked at where they change.
unsafe extern "C" fn translated(_id: u64, block: *mut api::Block) {
    let Some(counters) = COUNTERS.get() else { return };
    // SAFETY: QEMU passes a valid block.
    let (length, start) = unsafe { (api::qemu_plugin_tb_n_insns(block), api::qemu_plugin_tb_vaddr(block)) };
    let in_kernel = is_kernel(start);
    let entry = if in_kernel { &counters.kernel } else { &counters.user };
    entry.add_each_time(block, length as u64);
    if !in_kernel {
        return;
    }
    for at in 0..length {
        let mut word = [0; 4];
        // SAFETY: `at` is below the block's length, and `word` has the size that is told.
        let instruction = unsafe {
            let instruction = api::qemu_plugin_tb_get_insn(block, at);
            api::qemu_plugin_insn_data(instruction, word.as_mut_ptr().cast(), word.len());
            instruction
        };
        let word = u32::from_le_bytes(word);
        if word & !REGISTER == SET_TASK {
            let register = std::ptr::without_provenance_mut((word & REGISTER) as usize);
            // SAFETY: the instruction is valid during this call; `register` is a number and never followed.
            unsafe {
                api::qemu_plugin_register_vcpu_insn_exec_cb(
                    instruction,
                    task_set,
                    api::READS_REGISTERS,
                    register,
                );
            }
        }
    }
}

unsafe extern "C" fn task_set(_processor: c_uint, register: *mut c_void) {
    let now = spent();
    let mut state = state();
    let Some(state) = state.as_mut() else { return };
    let Some(task) = state.register(register.addr()) else { return };
    // On the way out of the kernel the same register is given the program's stack.
    if !is_kernel(task) {
        return;
    }
    if state.name_at.is_none() {
        let found = state.bytes.of_memory(task, LONGEST_TASK);
        state.name_at =
            found.windows(FIRST_NAME.len()).position(|part| part == FIRST_NAME).map(|at| at as u64);
    }
    let Some(at) = state.name_at else { return };
    let State { bytes, tally, .. } = state;
    let name = bytes.of_memory(task + at, NAME);
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    tally.switch(now, &String::from_utf8_lossy(name));
}

impl State {
    fn register(&mut self, number: usize) -> Option<u64> {
        let name = format!("x{number}");
        let (_, register) = self.registers.iter().find(|(other, _)| *other == name)?;
        self.bytes.of_register(*register).try_into().ok().map(u64::from_le_bytes)
    }
}

/// The kernel's addresses are the upper half.
fn is_kernel(address: u64) -> bool {
    address >> 63 != 0
}

unsafe extern "C" fn ended(_id: u64, _nothing: *mut c_void) {
    let now = spent();
    if let Some(state) = state().take()
        && let Err(fault) = std::fs::write(&state.report, state.tally.render(now))
    {
        eprintln!("the counter cannot write {}: {fault}", state.report.display());
    }
}
