//! The traffic of a wire as a file that tcpdump and Wireshark read (libpcap's classic format).

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const LINKTYPE_ETHERNET: u32 = 1;
const SNAP_LENGTH: u32 = 262_144;

pub(crate) struct Recorder(BufWriter<File>);

impl Recorder {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&MAGIC_MICROSECONDS.to_le_bytes())?;
        file.write_all(&[2, 0, 4, 0])?;
        for field in [0, 0, SNAP_LENGTH, LINKTYPE_ETHERNET] {
            file.write_all(&field.to_le_bytes())?;
        }
        Ok(Self(file))
    }

    pub(crate) fn frame(&mut self, frame: &[u8]) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = frame.len() as u32;
        for field in [now.as_secs() as u32, now.subsec_micros(), length, length] {
            self.0.write_all(&field.to_le_bytes())?;
        }
        self.0.write_all(frame)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
