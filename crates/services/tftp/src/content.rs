//! A file's bytes, cut into blocks: as they are, or as the lines of text that netascii wants.
//!
//! Netascii is converted for real. The `tftp-hpa` client asks for it unless told otherwise and undoes the
//! conversion on arrival: sent as they are, its bytes would come out damaged wherever a file holds CR LF.

use std::{
    collections::VecDeque,
    io::{self, IoSliceMut},
    ops::Range,
};

use crate::{
    packet::{DATA_HEADER, data_header},
    terms::MOST_BLOCKS,
};

/// Something to read at any place, like `pread(2)`.
pub trait ReadAt {
    /// Reads bytes from `offset` on into `into` and says how many; 0 means the end.
    ///
    /// # Errors
    /// When the bytes cannot be had.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Reads bytes from `offset` on into several places, one after the other, like `preadv(2)`. It may stop anywhere, and
    /// without a way of its own it stops behind the first place.
    ///
    /// # Errors
    /// When the bytes cannot be had.
    fn read_vectored_at(&self, offset: u64, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        into.first_mut().map_or(Ok(0), |place| self.read_at(offset, place))
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Box<T> {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, into)
    }

    fn read_vectored_at(&self, offset: u64, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (**self).read_vectored_at(offset, into)
    }
}

/// Packets that lie one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packets {
    /// How many blocks they hold, one each.
    pub blocks: u64,
    /// Their bytes, headers included. All are as long as the terms say, but for the file's last one.
    pub bytes: usize,
    /// Whether the file's last block is the last of them.
    pub last: bool,
}

/// Content in blocks.
#[derive(Debug)]
pub struct Blocks<R> {
    content: R,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Octet { length: u64, ahead: Ahead },
    Netascii(Lines),
}

/// What was read last, and more than was asked for: a client without a window takes one block at a time, and these are read
/// several at once.
#[derive(Debug, Default)]
struct Ahead {
    offset: u64,
    bytes: Vec<u8>,
}

/// How much of it there is at most: what a transfer may keep, of which there may be thousands.
const AHEAD: usize = 4096;

/// Where the blocks of a conversion begin in the original: kept for as long as one may be asked for again.
#[derive(Debug)]
struct Lines {
    marks: VecDeque<Mark>,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    block: u64,
    offset: u64,
    /// The second byte of a pair whose first one ended the block before.
    owed: Option<u8>,
}

impl<R: ReadAt> Blocks<R> {
    /// The bytes as they are, `length` of them.
    pub fn octet(content: R, length: u64) -> Self {
        Self { content, form: Form::Octet { length, ahead: Ahead::default() } }
    }

    /// The bytes as netascii.
    pub fn netascii(content: R) -> Self {
        let marks = VecDeque::from([Mark { block: 1, offset: 0, owed: None }]);
        Self { content, form: Form::Netascii(Lines { marks }) }
    }

    /// What they are cut from.
    pub fn content(&self) -> &R {
        &self.content
    }

    /// The number of bytes that will travel, where it is known beforehand.
    pub fn length(&self) -> Option<u64> {
        match self.form {
            Form::Octet { length, .. } => Some(length),
            Form::Netascii(_) => None,
        }
    }

    /// Puts block `number`, counted from 1, into `into`, which is as long as a block. Gives the number of bytes:
    /// a short block is the last one. In netascii a block must be within two windows of the last one read.
    ///
    /// # Errors
    /// When the content cannot be read, or is shorter than it was at first.
    pub fn read(&mut self, number: u64, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.form {
            Form::Octet { length, ahead } => {
                let offset = number.saturating_sub(1).saturating_mul(into.len() as u64);
                let left = length.saturating_sub(offset);
                let here = left.min(into.len() as u64) as usize;
                let block = &mut into[..here];
                ahead.fill(&self.content, offset, left, block)?;
                Ok(here)
            }
            Form::Netascii(lines) => lines.read(&self.content, number, into),
        }
    }
}

impl<R: ReadAt> Blocks<R> {
    /// Puts the packets of the blocks `numbers`, of `size` bytes each, into `into`: as many as fit, fewer where the
    /// file ends.
    ///
    /// # Errors
    /// As [`Blocks::read`].
    pub fn packets(&mut self, numbers: Range<u64>, size: u16, into: &mut [u8]) -> io::Result<Packets> {
        let size = usize::from(size);
        let wanted = numbers.end.saturating_sub(numbers.start);
        let fitting = (into.len() / (DATA_HEADER + size)) as u64;
        let length = match &self.form {
            Form::Octet { length, .. } if wanted > 1 => *length,
            _ => return self.single_packets(numbers, size, into),
        };
        let offset = numbers.start.saturating_sub(1).saturating_mul(size as u64);
        let left = length.saturating_sub(offset);
        let blocks = wanted.min(fitting).min(left / (size as u64).max(1) + 1);
        let data = left.min(blocks * size as u64) as usize;
        let bytes = blocks as usize * DATA_HEADER + data;
        let mut places = Vec::with_capacity(blocks as usize);
        for (number, packet) in numbers.zip(into[..bytes].chunks_mut(DATA_HEADER + size)) {
            let (header, block) = packet.split_at_mut(DATA_HEADER);
            header.copy_from_slice(&data_header(number as u16));
            places.push(IoSliceMut::new(block));
        }
        let read = self.content.read_vectored_at(offset, &mut places)?;
        // What is missing, if anything: the rest of the block that reading stopped in, and those behind it.
        let mut at = 0;
        for place in &mut places {
            let there = read.saturating_sub(at).min(place.len());
            fill(&self.content, offset + (at + there) as u64, &mut place[there..])?;
            at += place.len();
        }
        Ok(Packets { blocks, bytes, last: data < blocks as usize * size })
    }

    /// Block by block.
    fn single_packets(&mut self, numbers: Range<u64>, size: usize, into: &mut [u8]) -> io::Result<Packets> {
        let mut packets = Packets { blocks: 0, bytes: 0, last: false };
        for (number, packet) in numbers.zip(into.chunks_exact_mut(DATA_HEADER + size)) {
            let (header, block) = packet.split_at_mut(DATA_HEADER);
            header.copy_from_slice(&data_header(number as u16));
            let length = self.read(number, block)?;
            packets.blocks += 1;
            packets.bytes += DATA_HEADER + length;
            packets.last = length < size;
            if packets.last {
                break;
            }
        }
        Ok(packets)
    }
}

fn fill(content: &impl ReadAt, mut offset: u64, mut block: &mut [u8]) -> io::Result<()> {
    while !block.is_empty() {
        match content.read_at(offset, block) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                offset += length as u64;
                block = block.get_mut(length..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Ahead {
    /// Fills `block` with what stands at `offset`, from where there are `left` bytes.
    fn fill(&mut self, content: &impl ReadAt, offset: u64, left: u64, block: &mut [u8]) -> io::Result<()> {
        let blocks = AHEAD / block.len().max(1);
        if blocks < 2 {
            return fill(content, offset, block);
        }
        if self.known(offset, block.len()).is_none() {
            self.bytes.resize(left.min((blocks * block.len()) as u64) as usize, 0);
            self.offset = offset;
            // What could not be read is not known.
            fill(content, offset, &mut self.bytes).inspect_err(|_| self.bytes.clear())?;
        }
        block.copy_from_slice(self.known(offset, block.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn known(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let at = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        self.bytes.get(at..)?.get(..length)
    }
}

impl Lines {
    fn read(&mut self, content: &impl ReadAt, number: u64, into: &mut [u8]) -> io::Result<usize> {
        let mark = self.marks.iter().find(|mark| mark.block == number).copied();
        let mut mark = mark.ok_or_else(|| io::Error::other("a block far from the last one was asked for"))?;
        let mut written = 0;
        let mut piece = [0; 4096];
        'block: while written < into.len() {
            if let Some(byte) = mark.owed.take() {
                into[written] = byte;
                written += 1;
                continue;
            }
            let length = content.read_at(mark.offset, &mut piece)?;
            if length == 0 {
                break;
            }
            for byte in &piece[..length] {
                if written == into.len() {
                    break 'block;
                }
                let (first, second) = match byte {
                    b'\n' => (b'\r', Some(b'\n')),
                    b'\r' => (b'\r', Some(0)),
                    byte => (*byte, None),
                };
                mark.offset += 1;
                into[written] = first;
                written += 1;
                match (second, into.get_mut(written)) {
                    (Some(second), Some(place)) => {
                        *place = second;
                        written += 1;
                    }
                    (second, _) => mark.owed = second,
                }
            }
        }
        mark.block += 1;
        if self.marks.back().is_none_or(|last| last.block < mark.block) {
            self.marks.push_back(mark);
        }
        while self.marks.len() > 2 * usize::from(MOST_BLOCKS) {
            self.marks.pop_front();
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(mut blocks: Blocks<Vec<u8>>, size: usize) -> Vec<u8> {
        let mut whole = Vec::new();
        let mut block = vec![0; size];
        for number in 1.. {
            let length = blocks.read(number, &mut block).unwrap();
            // Asking again changes nothing.
            assert_eq!(blocks.read(number, &mut vec![0; size]).unwrap(), length);
            whole.extend_from_slice(&block[..length]);
            if length < size {
                break;
            }
        }
        whole
    }

    #[test]
    fn lines_of_text() {
        let check = |text: &str, expect: &str| {
            for size in [8, 9, 512] {
                let got = all(Blocks::netascii(text.as_bytes().to_vec()), size);
                assert_eq!(got, expect.as_bytes(), "{text:?} in blocks of {size}");
            }
        };
        check("", "");
        check("a\nb\n", "a\r\nb\r\n");
        check("1234567\n", "1234567\r\n");
        check("a\r\nb\r", "a\r\0\r\nb\r\0");
        check("\n\n\n\n\n\n\n\n\n", "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n");
    }

    #[test]
    fn content_that_shrank_is_an_error() {
        let mut blocks = Blocks::octet(vec![0; 100], 600);
        let error = blocks.read(1, &mut [0; 512]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let error = blocks.packets(1..3, 512, &mut [0; 2048]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    /// Reads a little at a time, and into as many places as that fills.
    struct Stuttering(Vec<u8>, usize);

    impl ReadAt for Stuttering {
        fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
            let most = into.len().min(self.1);
            self.0.read_at(offset, &mut into[..most])
        }

        fn read_vectored_at(&self, offset: u64, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
            let mut done = 0;
            for place in into {
                let most = place.len().min(self.1 - done);
                done += self.0.read_at(offset + done as u64, &mut place[..most])?;
            }
            Ok(done)
        }
    }

    proptest! {
        #[test]
        fn packets_hold_what_blocks_hold(
            content in proptest::collection::vec(any::<u8>(), 0..3000), size in 8u16..600, room in 0usize..4000,
            first in 1u64..9, count in 0u64..9, most in 1usize..2000, text in any::<bool>(),
        ) {
            let source = || Stuttering(content.clone(), most);
            let length = content.len() as u64;
            let open = || if text { Blocks::netascii(source()) } else { Blocks::octet(source(), length) };
            let (mut together, mut single) = (open(), open());
            let mut block = vec![0; usize::from(size)];
            // Text is only read in order.
            for number in 1..first {
                if single.read(number, &mut block).unwrap() < block.len() { return Ok(()) }
                together.read(number, &mut block).unwrap();
            }
            let mut into = vec![0; room];
            let packets = together.packets(first..first + count, size, &mut into).unwrap();
            let (mut expect, mut last) = (Vec::new(), false);
            let mut number = first;
            while number < first + count && !last && (number + 1 - first) as usize * (4 + block.len()) <= room {
                let read = single.read(number, &mut block).unwrap();
                expect.extend_from_slice(&data_header(number as u16));
                expect.extend_from_slice(&block[..read]);
                last = read < block.len();
                number += 1;
            }
            prop_assert_eq!(&into[..packets.bytes], &expect);
            prop_assert_eq!((packets.blocks, packets.last), (number - first, last));
        }

        #[test]
        fn blocks_add_up(content in proptest::collection::vec(any::<u8>(), 0..10_000), size in 8usize..600) {
            let length = content.len() as u64;
            prop_assert_eq!(&all(Blocks::octet(content.clone(), length), size), &content);
            let mut expect = Vec::new();
            for byte in &content {
                match byte {
                    b'\n' => expect.extend(b"\r\n"),
                    b'\r' => expect.extend(b"\r\0"),
                    byte => expect.push(*byte),
                }
            }
            prop_assert_eq!(all(Blocks::netascii(content), size), expect);
        }
    }
}
