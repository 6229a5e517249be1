//! Building the Pi's programs with the locked toolchain.
//!
//! The compiler, the linker, the C library and cargo itself come from the toolbox, never from the machine:
//! another cargo gives other `-C metadata` and so other bytes. Paths are remapped inside the wrapper of rustc,
//! not in `RUSTFLAGS`, so that they never enter what cargo hashes.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{ToolError, Toolbox, layout::quote};

/// What a program is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// The Pi's user land.
    Pi,
    /// 64-bit PCs.
    Amd64,
    /// Machines with 64-bit Arm.
    Arm64,
}

impl Machine {
    /// As rustc names it.
    fn target(self) -> &'static str {
        match self {
            Self::Pi => "armv7-unknown-linux-gnueabihf",
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// What the names of its compiler's programs begin with; none where that is this machine's own.
    fn tools(self) -> Option<&'static str> {
        match self {
            Self::Pi => Some("arm-linux-gnueabihf"),
            Self::Amd64 => None,
            Self::Arm64 => Some("aarch64-linux-gnu"),
        }
    }
}

/// What a build may see of the caller's environment: how to reach the crates registry, and nothing else.
const PASSED_ON: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "CARGO_HTTP_PROXY",
    "CARGO_HTTP_CAINFO",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CARGO_NET_OFFLINE",
];
/// Where Linux systems keep the certificate authorities that they trust.
const AUTHORITIES: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// What to build, and where.
#[derive(Debug, Clone, Copy)]
pub struct CrossRequest<'a> {
    /// The workspace's folder.
    pub workspace: &'a Path,
    /// Cargo's target folder, kept between builds.
    pub target: &'a Path,
    /// Cargo's home, kept between builds; the caller's own is not touched.
    pub cargo_home: &'a Path,
    /// The packages of the workspace whose programs are wanted.
    pub packages: &'a [&'a str],
    /// What for.
    pub machine: Machine,
    /// Whether to link the C library in: for a program that runs where there is none, as in an initrd.
    pub static_libc: bool,
}

/// The toolchain, ready to build.
#[derive(Debug)]
pub struct Cross<'a> {
    toolbox: &'a Toolbox,
    request: CrossRequest<'a>,
}

impl<'a> Cross<'a> {
    /// Writes the wrappers of compiler and linkers below the target folder.
    ///
    /// # Errors
    /// The target folder cannot be written.
    pub fn prepare(toolbox: &'a Toolbox, request: CrossRequest<'a>) -> Result<Self, ToolError> {
        let cross = Self { toolbox, request };
        fs::create_dir_all(cross.wrappers())
            .map_err(|source| ToolError::Write { path: cross.wrappers(), source })?;
        cross.wrapper("rustc", &cross.rustc())?;
        if let Some(tools) = cross.request.machine.tools() {
            cross.wrapper("cc-target", &cross.cc(&format!("{tools}-gcc-14"), &[]))?;
        }
        let loader = toolbox.root().join("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
        let libraries = toolbox.root().join("usr/lib/x86_64-linux-gnu");
        // Build scripts are linked against the toolbox's C library, so they must run with it. What has its C library in
        // itself needs none of that, and is for another machine.
        let run_inside = [
            format!("-Wl,--dynamic-linker={}", loader.display()),
            format!("-Wl,-rpath,{}", libraries.display()),
        ];
        let alone = cross.cc("gcc-14", &[]);
        let inside = cross.cc("gcc-14", &run_inside);
        let line =
            format!("case \" $* \" in *' -static '*|*' -static-pie '*) {alone} \"$@\" ;; esac\n{inside}");
        cross.wrapper("cc-host", &line)?;
        Ok(cross)
    }

    /// The command that builds, its output not yet redirected. Programs appear in [`Cross::programs`].
    pub fn command(&self) -> Command {
        let mut command = self.cargo();
        command
            .args(["build", "--locked", "--release", "--target", self.request.machine.target()])
            .arg("--target-dir");
        command.arg(self.target());
        self.packages(command)
    }

    /// The command that lists the crates that are linked into the programs, a line each: name, `v` and version, and
    /// more words. What only runs while compiling is not among them.
    pub fn linked(&self) -> Command {
        let mut command = self.cargo();
        command.args([
            "tree",
            "--locked",
            "--quiet",
            "--target",
            self.request.machine.target(),
            "--edges",
            "normal,no-proc-macro",
        ]);
        command.args(["--prefix", "none", "--format", "{p}"]);
        self.packages(command)
    }

    fn packages(&self, mut command: Command) -> Command {
        for package in self.request.packages {
            command.args(["--package", package]);
        }
        command
    }

    /// The toolbox's cargo with nothing of the caller's around it.
    fn cargo(&self) -> Command {
        let request = &self.request;
        let mut command = Command::new(self.toolbox.folder().join("bin/cargo"));
        command.current_dir(request.workspace).stdin(Stdio::null()).env_clear();
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Some(bundle) = AUTHORITIES.iter().find(|path| Path::new(path).is_file())
            && std::env::var_os("CARGO_HTTP_CAINFO").is_none()
        {
            command.env("CARGO_HTTP_CAINFO", bundle);
        }
        command
            // gcc falls back to PATH for the linker: nothing of the machine's may be there.
            .env("PATH", self.toolbox.folder().join("bin"))
            .env("HOME", request.cargo_home)
            .env("CARGO_HOME", request.cargo_home)
            .env("RUSTC", self.wrappers().join("rustc"))
            .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER", self.wrappers().join("cc-host"));
        let target = request.machine.target().replace('-', "_");
        let setting = format!("CARGO_TARGET_{}", target.to_uppercase());
        if let Some(tools) = request.machine.tools() {
            command
                .env(format!("{setting}_LINKER"), self.wrappers().join("cc-target"))
                .env(format!("CC_{target}"), self.wrappers().join("cc-target"))
                .env(format!("AR_{target}"), self.toolbox.folder().join(format!("bin/{tools}-ar")));
        }
        if request.static_libc {
            command.env(format!("{setting}_RUSTFLAGS"), "-Ctarget-feature=+crt-static");
        }
        command
    }

    /// The folder of the finished programs.
    pub fn programs(&self) -> PathBuf {
        self.target().join(self.request.machine.target()).join("release")
    }

    /// Static and dynamic programs do not share a target folder: other flags would build everything anew.
    fn target(&self) -> PathBuf {
        let name = match (self.request.machine, self.request.static_libc) {
            (Machine::Pi, true) => "static",
            (Machine::Pi, false) => "dynamic",
            (Machine::Amd64, true) => "static-amd64",
            (Machine::Amd64, false) => "dynamic-amd64",
            (Machine::Arm64, true) => "static-arm64",
            (Machine::Arm64, false) => "dynamic-arm64",
        };
        self.request.target.join(name)
    }

    fn wrappers(&self) -> PathBuf {
        self.target().join("toolchain")
    }

    fn rustc(&self) -> String {
        let mut line = format!(
            "exec {} --sysroot {}",
            quote(&self.toolbox.folder().join("bin/rustc").to_string_lossy()),
            quote(&self.toolbox.root().join("usr").to_string_lossy()),
        );
        for (from, to) in self.remapped() {
            line.push_str(&format!(" --remap-path-prefix {}", quote(&format!("{}={to}", from.display()))));
        }
        line
    }

    fn cc(&self, program: &str, more: &[String]) -> String {
        let root = self.toolbox.root();
        let mut line = format!(
            "exec {} {}",
            quote(&root.join("usr/bin").join(program).to_string_lossy()),
            quote(&format!("--sysroot={}", root.display())),
        );
        for (from, to) in self.remapped() {
            line.push_str(&format!(" {}", quote(&format!("-ffile-prefix-map={}={to}", from.display()))));
        }
        for word in more {
            line.push_str(&format!(" {}", quote(word)));
        }
        line
    }

    /// Folders that must not show in a program, and what stands there instead. Where one holds another, the
    /// inner one comes last: the last match wins.
    fn remapped(&self) -> Vec<(PathBuf, &'static str)> {
        let mut all = vec![
            (self.request.workspace.to_owned(), "/pilotlight"),
            (self.request.cargo_home.to_owned(), "/cargo"),
            (self.toolbox.root(), "/toolchain"),
            (self.target(), "/target"),
        ];
        all.sort_by_key(|(from, _)| from.as_os_str().len());
        all
    }

    fn wrapper(&self, name: &str, line: &str) -> Result<(), ToolError> {
        let path = self.wrappers().join(name);
        let text = format!("#!/bin/sh\n{line} \"$@\"\n");
        // Cargo asks rustc anew when the wrapper's time changes: leave an unchanged one alone.
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .map_err(|source| ToolError::Write { path, source })
    }
}
