//! A disk that has been in use, of which a node in memory is to leave everything as it is.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use pilotlight_tests::{process::must, surroundings::Tools};

use crate::PATIENCE;

const MIB: u64 = 1 << 20;
/// Where its partitions begin.
const SWAP: u64 = MIB;
const EXT4: u64 = 33 * MIB;
const RAID: u64 = 81 * MIB;
const LVM: u64 = 89 * MIB;

/// A GPT with a swap area, an ext4 whose journal was never played back, half of a mirrored MD array whose other half is
/// missing, and a physical volume of LVM.
pub(crate) fn disk(folder: &Path, node: &str) -> Result<PathBuf> {
    let tools = Tools::checkers()?;
    let path = folder.join(format!("{node}.disk"));
    let file = File::create(&path)?;
    file.set_len(112 * MIB)?;
    let script = folder.join("disk.sfdisk");
    fs::write(
        &script,
        "label: gpt\nsize=32MiB, type=swap\nsize=48MiB, type=linux\nsize=8MiB, type=raid\nsize=16MiB, type=lvm\n",
    )?;
    let mut table = Command::new("/bin/sh");
    table.args(["-c", "\"$0\" \"$1\" < \"$2\""]).arg(tools.program("sfdisk")?).arg(&path).arg(&script);
    must(&mut table, PATIENCE)?;
    swap(&file)?;
    file.write_all_at(&ext4(folder, &tools)?, EXT4)?;
    raid(&file)?;
    lvm(&file)?;
    file.sync_all()?;
    Ok(path)
}

/// linux/swap.h, `union swap_header`: version 1, so many pages, and the magic word at the first page's end.
fn swap(file: &File) -> io::Result<()> {
    file.write_all_at(&[1_u32, 8191].map(u32::to_le_bytes).concat(), SWAP + 1024)?;
    file.write_all_at(b"SWAPSPACE2", SWAP + 4086)
}

/// With a transaction in the journal that was committed and has not reached its block.
fn ext4(folder: &Path, tools: &Tools) -> Result<Vec<u8>> {
    let ext4 = folder.join("ext4.img");
    File::create(&ext4)?.set_len(48 * MIB)?;
    must(tools.command("mke2fs")?.args(["-q", "-F", "-t", "ext4"]).arg(&ext4), PATIENCE)?;
    fs::write(folder.join("block"), vec![0x5a; 4096])?;
    fs::write(folder.join("debugfs"), format!("jo\njw -b 9000 {}\njc\n", folder.join("block").display()))?;
    let mut debugfs = tools.command("debugfs")?;
    must(debugfs.arg("-w").arg("-f").arg(folder.join("debugfs")).arg(&ext4), PATIENCE)?;
    let listed = must(tools.command("dumpe2fs")?.arg("-h").arg(&ext4), PATIENCE)?.text;
    ensure!(listed.contains("needs_recovery"), "the journal is not dirty:\n{listed}");
    Ok(fs::read(&ext4)?)
}

/// The superblock of version 1.2 of the first of two mirrors, the second of which has failed: linux/raid/md_p.h, `struct
/// mdp_superblock_1`.
fn raid(file: &File) -> io::Result<()> {
    const DEVICES: usize = 2;
    /// Of a device that failed.
    const FAULTY: u16 = 0xfffe;
    let mut block = vec![0; 256 + 2 * DEVICES];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x00, &0xa92b_4efc_u32.to_le_bytes());
    put(0x04, &1_u32.to_le_bytes());
    put(0x10, &[0xd1; 16]);
    put(0x20, b"lab:0");
    put(0x48, &1_u32.to_le_bytes());
    put(0x50, &(4 * MIB / 512).to_le_bytes());
    put(0x5c, &(DEVICES as u32).to_le_bytes());
    put(0x80, &(2 * MIB / 512).to_le_bytes());
    put(0x88, &(4 * MIB / 512).to_le_bytes());
    put(0x90, &8_u64.to_le_bytes());
    put(0xa8, &[0xd2; 16]);
    put(0xc8, &17_u64.to_le_bytes());
    put(0xd0, &u64::MAX.to_le_bytes());
    put(0xdc, &(DEVICES as u32).to_le_bytes());
    put(0x102, &FAULTY.to_le_bytes());
    let words = block.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let sum: u64 = words.map(u64::from).sum();
    let sum = (sum as u32).wrapping_add((sum >> 32) as u32);
    block[0xd8..0xdc].copy_from_slice(&sum.to_le_bytes());
    file.write_all_at(&block, RAID + 4096)
}

/// The label of a physical volume with its header, in the second sector: LVM2, lib/format_text/layout.h, `struct label_header`
/// and `struct pv_header`.
fn lvm(file: &File) -> io::Result<()> {
    let mut sector = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"LABELONE");
    put(8, &1_u64.to_le_bytes());
    put(20, &32_u32.to_le_bytes());
    put(24, b"LVM2 001");
    put(32, b"PilotlightPilotlightPilotlight00");
    put(64, &(16 * MIB).to_le_bytes());
    // One area of data, one of metadata, each list ended by an empty one.
    put(72, &[MIB, 15 * MIB].map(u64::to_le_bytes).concat());
    put(104, &[4096, MIB - 4096].map(u64::to_le_bytes).concat());
    let sum = sector[20..].iter().fold(0xf597_a6cf_u32, |sum, byte| {
        (0..8).fold(
            sum ^ u32::from(*byte),
            |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 },
        )
    });
    sector[16..20].copy_from_slice(&sum.to_le_bytes());
    file.write_all_at(&sector, LVM + 512)
}
