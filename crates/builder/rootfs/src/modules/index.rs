//! The binary form of a module index, which is the one that kmod looks things up in: a trie over the keys, each
//! node with its values. Offsets are from the start of the file; numbers are big-endian.

use std::collections::BTreeMap;

const MAGIC: u32 = 0xB007_F457;
const VERSION: u32 = 0x0002_0001;
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;

/// Keys with their values in the making.
#[derive(Debug, Default)]
pub(super) struct Index {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    /// What follows the byte that led here.
    prefix: Vec<u8>,
    children: BTreeMap<u8, Node>,
    /// By rising priority.
    values: Vec<(u32, String)>,
}

impl Index {
    /// Adds a value. Keys are ASCII without NUL; of two values the one with the lower priority comes first.
    pub(super) fn insert(&mut self, key: &str, value: &str, priority: u32) {
        self.root.insert(key.as_bytes(), value, priority);
    }

    /// The file's content.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for number in [MAGIC, VERSION, 0] {
            out.extend(number.to_be_bytes());
        }
        let root = self.root.encode(&mut out);
        out[8..12].copy_from_slice(&root.to_be_bytes());
        out
    }
}

impl Node {
    fn leaf(prefix: &[u8], value: &str, priority: u32) -> Self {
        Self {
            prefix: prefix.to_vec(),
            children: BTreeMap::new(),
            values: vec![(priority, value.to_owned())],
        }
    }

    fn insert(&mut self, key: &[u8], value: &str, priority: u32) {
        let shared = self.prefix.iter().zip(key).take_while(|(mine, yours)| mine == yours).count();
        if shared < self.prefix.len() {
            let lower = Self {
                prefix: self.prefix[shared + 1..].to_vec(),
                children: std::mem::take(&mut self.children),
                values: std::mem::take(&mut self.values),
            };
            self.children.insert(self.prefix[shared], lower);
            self.prefix.truncate(shared);
        }
        match key[shared..].split_first() {
            None => {
                let place = self.values.partition_point(|(other, _)| *other < priority);
                self.values.insert(place, (priority, value.to_owned()));
            }
            Some((next, rest)) => match self.children.get_mut(next) {
                Some(child) => child.insert(rest, value, priority),
                None => _ = self.children.insert(*next, Self::leaf(rest, value, priority)),
            },
        }
    }

    /// Writes the node, then its children, as depmod does; returns its offset with the flags.
    fn encode(&self, out: &mut Vec<u8>) -> u32 {
        let mut offset = u32::try_from(out.len()).unwrap_or(u32::MAX);
        if !self.prefix.is_empty() {
            out.extend(&self.prefix);
            out.push(0);
            offset |= HAS_PREFIX;
        }
        let mut table = 0..0;
        let ends = self.children.keys().next().zip(self.children.keys().next_back());
        if let Some((first, last)) = ends {
            out.extend([first, last]);
            table = out.len()..out.len() + 4 * (usize::from(last - first) + 1);
            // No child: 0.
            out.resize(table.end, 0);
            offset |= HAS_CHILDREN;
        }
        if !self.values.is_empty() {
            out.extend(u32::try_from(self.values.len()).unwrap_or(u32::MAX).to_be_bytes());
            for (priority, value) in &self.values {
                out.extend(priority.to_be_bytes());
                out.extend(value.as_bytes());
                out.push(0);
            }
            offset |= HAS_VALUES;
        }
        for (byte, child) in &self.children {
            let place = table.start + 4 * usize::from(byte - ends.map_or(0, |(first, _)| *first));
            let child = child.encode(out);
            out[place..place + 4].copy_from_slice(&child.to_be_bytes());
        }
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the file as kmod does: exact key, all values.
    fn lookup(file: &[u8], key: &[u8]) -> Vec<String> {
        let number = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
        let (mut node, mut key) = (number(8), key);
        loop {
            let mut at = (node & 0x0fff_ffff) as usize;
            if node & HAS_PREFIX != 0 {
                let end = at + file[at..].iter().position(|byte| *byte == 0).unwrap();
                let Some(rest) = key.strip_prefix(&file[at..end]) else { return Vec::new() };
                (key, at) = (rest, end + 1);
            }
            let mut child = 0;
            if node & HAS_CHILDREN != 0 {
                let (first, last) = (file[at], file[at + 1]);
                if let Some(byte) = key.first().filter(|byte| (first..=last).contains(byte)) {
                    child = number(at + 2 + 4 * usize::from(byte - first));
                }
                at += 2 + 4 * (usize::from(last - first) + 1);
            }
            if key.is_empty() {
                let mut values = Vec::new();
                let count = if node & HAS_VALUES != 0 { number(at) } else { 0 };
                at += 4;
                for _ in 0..count {
                    let end = at + 4 + file[at + 4..].iter().position(|byte| *byte == 0).unwrap();
                    values.push(String::from_utf8(file[at + 4..end].to_vec()).unwrap());
                    at = end + 1;
                }
                return values;
            }
            if child == 0 {
                return Vec::new();
            }
            (node, key) = (child, &key[1..]);
        }
    }

    #[test]
    fn every_key_is_found_again() {
        let keys = ["ext4", "ext2", "extfat", "e", "crc32", "crc32c", "zlib", "", "fs-ext4"];
        let mut index = Index::default();
        for (priority, key) in keys.iter().enumerate() {
            index.insert(key, &format!("value of {key}"), priority as u32);
        }
        index.insert("ext2", "first", 0);
        let file = index.encode();
        for key in keys {
            assert!(lookup(&file, key.as_bytes()).contains(&format!("value of {key}")), "{key}");
        }
        assert_eq!(lookup(&file, b"ext2"), ["first", "value of ext2"]);
        assert_eq!(lookup(&file, b"ext"), Vec::<String>::new());
        assert_eq!(lookup(&file, b"ext5"), Vec::<String>::new());
    }
}
