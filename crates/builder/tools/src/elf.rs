//! Just enough of ELF to know which files are programs that need a dynamic loader.

const PT_INTERP: u32 = 3;
const EM_X86_64: u16 = 62;

/// Whether `file` is a 64-bit x86 program that asks for a dynamic loader. Anything malformed is not.
pub(crate) fn is_dynamic_program(file: &[u8]) -> bool {
    program_headers(file).is_some_and(|mut types| types.any(|kind| kind == PT_INTERP))
}

fn program_headers(file: &[u8]) -> Option<impl Iterator<Item = u32>> {
    // ELF magic, 64-bit class, little-endian (System V ABI, "ELF Header").
    if file.get(..6)? != [0x7f, b'E', b'L', b'F', 2, 1] || half(file, 0x12)? != EM_X86_64 {
        return None;
    }
    let offset = usize::try_from(u64::from_le_bytes(file.get(0x20..0x28)?.try_into().ok()?)).ok()?;
    let size = usize::from(half(file, 0x36)?);
    let count = usize::from(half(file, 0x38)?);
    Some((0..count).map_while(move |index| {
        let start = index.checked_mul(size)?.checked_add(offset)?;
        let kind = file.get(start..start.checked_add(4)?)?;
        Some(u32::from_le_bytes(kind.try_into().ok()?))
    }))
}

fn half(file: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(file.get(offset..offset + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::is_dynamic_program;

    #[test]
    fn this_test_is_a_dynamic_program_and_its_head_is_not() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(is_dynamic_program(&own));
        for length in 0..64 {
            assert!(!is_dynamic_program(&own[..length]), "{length} bytes");
        }
    }

    #[test]
    fn hostile_headers_are_no_program() {
        let mut file = vec![0xff; 64];
        file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        file[0x12..0x14].copy_from_slice(&62u16.to_le_bytes());
        assert!(!is_dynamic_program(&file));
    }
}
