//! Every file of an image in the format of mtree(5), which `mtree`, `bsdtar` and others read: path, type, mode,
//! owner, size and SHA-256, with the package that it comes from as its tag.

use std::{collections::BTreeMap, fmt::Write as _};

use pilotlight_tree::{Bytes, Kind, Meta, Node, Tree, TreePath};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

/// What a manifest begins with: its version, and the folders that stand for the two partitions.
pub const HEADER: &str = "#mtree v2.0\n. type=dir\n./boot type=dir\n";
/// The tag of what no package ships and the builder makes in place of the packages' scripts.
pub const MADE: &str = "made";

/// The lines of a whole tree below the folder `name`, in the order of the paths. `owners` says whose each file is;
/// folders are everyone's and have no tag.
pub fn tree(name: &str, tree: &Tree, owners: &BTreeMap<TreePath, String>) -> String {
    let nodes: Vec<_> = tree.iter().collect();
    let lines = nodes.par_iter().map(|(path, node)| {
        let owner = match node.kind {
            Kind::Directory => None,
            _ => Some(owners.get(path).map_or(MADE, String::as_str)),
        };
        let content = match &node.kind {
            Kind::File(content) => Some(content),
            Kind::HardLink(target) => match tree.get(target).map(|node| &node.kind) {
                Some(Kind::File(content)) => Some(content),
                _ => None,
            },
            _ => None,
        };
        let path = if path.is_root() { format!("./{name}") } else { format!("./{name}{}", shown(path)) };
        line(&path, node, content, owner)
    });
    lines.collect()
}

/// The line of one file of root's, such as one of the boot partition.
pub fn file(name: &str, content: &Bytes, mode: u16, owner: &str) -> String {
    let node = Node { meta: Meta::root(mode, 0), kind: Kind::File(content.clone()) };
    line(&format!("./{}", escaped(name.as_bytes())), &node, Some(content), Some(owner))
}

fn shown(path: &TreePath) -> String {
    format!("/{}", escaped(path.as_bytes()))
}

fn line(path: &str, node: &Node, content: Option<&Bytes>, owner: Option<&str>) -> String {
    let Meta { mode, uid, gid, .. } = node.meta;
    let kind = match &node.kind {
        Kind::Directory => "dir",
        Kind::File(_) | Kind::HardLink(_) => "file",
        Kind::Symlink(_) => "link",
        Kind::CharDevice { .. } => "char",
        Kind::BlockDevice { .. } => "block",
        Kind::Fifo => "fifo",
    };
    let mut line = format!("{path} type={kind} mode={mode:04o} uid={uid} gid={gid}");
    match &node.kind {
        Kind::Symlink(target) => _ = write!(line, " link={}", escaped(target)),
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            _ = write!(line, " device=linux,{major},{minor}");
        }
        _ => {}
    }
    if let Some(content) = content {
        _ = write!(line, " size={} sha256digest={}", content.len(), hex(&Sha256::digest(content)));
    }
    if let Some(owner) = owner {
        _ = write!(line, " tags={owner}");
    }
    line.push('\n');
    line
}

/// As vis(3) writes what would end a word, begin a remark, or is not plain text: a backslash and three octal digits.
fn escaped(raw: &[u8]) -> String {
    let mut text = String::with_capacity(raw.len());
    for byte in raw {
        match byte {
            b'\\' | b'#' | b'=' | b'*' | b'?' | b'[' | 0..=b' ' | 0x7f.. => _ = write!(text, "\\{byte:03o}"),
            plain => text.push(char::from(*plain)),
        }
    }
    text
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let mut root = Tree::new(Meta::root(0o755, 7));
        let mut put = |path: &'static str, mode, kind| {
            root.insert(
                TreePath::literal(path),
                Node { meta: Meta { gid: 42, ..Meta::root(mode, 7) }, kind },
            );
        };
        put("a file", 0o4755, Kind::File("text".into()));
        put("link", 0o777, Kind::Symlink("größe #1".into()));
        put("other", 0o4755, Kind::HardLink(TreePath::literal("a file")));
        let owners = BTreeMap::from([(TreePath::literal("a file"), "pack".to_owned())]);
        let digest = "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1";
        assert_eq!(
            tree("root", &root, &owners),
            format!(
                "./root type=dir mode=0755 uid=0 gid=0\n\
                 ./root/a\\040file type=file mode=4755 uid=0 gid=42 size=4 sha256digest={digest} tags=pack\n\
                 ./root/link type=link mode=0777 uid=0 gid=42 link=gr\\303\\266\\303\\237e\\040\\0431 tags=made\n\
                 ./root/other type=file mode=4755 uid=0 gid=42 size=4 sha256digest={digest} tags=made\n"
            )
        );
        assert_eq!(
            file("boot/x", &"text".into(), 0o644, "y"),
            format!("./boot/x type=file mode=0644 uid=0 gid=0 size=4 sha256digest={digest} tags=y\n")
        );
    }
}
