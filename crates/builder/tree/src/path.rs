//! Paths inside a tree: absolute by nature, normal by construction.

use std::fmt;

/// A path inside a tree, kept without leading or trailing `/`; the root is the empty path. No component is
/// empty, `.` or `..`, and none holds a NUL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(Box<[u8]>);

/// Why some bytes are no path of a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A `..` component could leave the tree.
    #[error("the path {0:?} holds a `..` component")]
    Parent(String),
    /// A NUL byte ends a path for the kernel.
    #[error("the path {0:?} holds a NUL byte")]
    Nul(String),
}

impl TreePath {
    /// The root folder of the tree.
    pub fn root() -> Self {
        Self(Box::default())
    }

    /// Reads a path as it stands in an archive or a file: `./usr/bin/`, `/usr/bin` and `usr/bin` are the same.
    ///
    /// # Errors
    /// A `..` component or a NUL byte.
    pub fn parse(raw: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let raw = raw.as_ref();
        let shown = || String::from_utf8_lossy(raw).into_owned();
        if raw.contains(&0) {
            return Err(PathError::Nul(shown()));
        }
        let mut normal = Vec::with_capacity(raw.len());
        for component in raw.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return Err(PathError::Parent(shown())),
                name => {
                    if !normal.is_empty() {
                        normal.push(b'/');
                    }
                    normal.extend_from_slice(name);
                }
            }
        }
        Ok(Self(normal.into_boxed_slice()))
    }

    /// A path that is written in the source.
    ///
    /// # Panics
    /// When the literal is no path of a tree.
    pub fn literal(raw: &'static str) -> Self {
        Self::parse(raw).expect("a path literal is well formed")
    }

    /// This path with more components added.
    ///
    /// # Errors
    /// As [`TreePath::parse`].
    pub fn join(&self, more: impl AsRef<[u8]>) -> Result<Self, PathError> {
        Self::parse([&self.0, b"/".as_slice(), more.as_ref()].concat())
    }

    /// The bytes, without leading or trailing `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root folder.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The folder that holds this path; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    /// The last component; empty for the root.
    pub fn file_name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        &self.0[start..]
    }

    /// Whether this path is `other` or lies beneath it.
    pub fn is_at_or_beneath(&self, other: &Self) -> bool {
        other.is_root()
            || (self.0.starts_with(&other.0) && matches!(self.0.get(other.0.len()), None | Some(b'/')))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "/{}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_path_has_one_spelling() {
        for raw in ["./usr/bin/", "/usr/bin", "usr//bin", "usr/./bin"] {
            assert_eq!(TreePath::parse(raw).unwrap().as_bytes(), b"usr/bin", "{raw}");
        }
        assert!(TreePath::parse("./").unwrap().is_root());
    }

    #[test]
    fn nothing_leaves_the_tree() {
        assert!(matches!(TreePath::parse("usr/../etc"), Err(PathError::Parent(_))));
        assert!(matches!(TreePath::parse("usr\0"), Err(PathError::Nul(_))));
    }

    #[test]
    fn parents_and_names() {
        let path = TreePath::literal("usr/bin/dash");
        assert_eq!(path.file_name(), b"dash");
        assert_eq!(path.parent(), Some(TreePath::literal("usr/bin")));
        assert_eq!(TreePath::literal("usr").parent(), Some(TreePath::root()));
        assert_eq!(TreePath::root().parent(), None);
        assert!(path.is_at_or_beneath(&TreePath::literal("usr")));
        assert!(!TreePath::literal("usrlocal").is_at_or_beneath(&TreePath::literal("usr")));
    }
}
